"""What a place for bundles has to be able to do.

Below its root are ``files/AB/SHA256`` (content, under the hash of itself), ``manifests/NUMBER.json`` (one a version,
never written twice) and ``locks/`` (who is pushing or pruning at the moment).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from spelling_transfer.storage.bundle import BundleError
from spelling_transfer.storage.remote_errors import RemoteError

FILES, MANIFESTS, LOCKS = "files", "manifests", "locks"

PART_BYTES = 8 << 20
"""Larger files go in parts of this size, where a store takes parts."""

Counter = Callable[[int], None]
"""Called with the number of bytes done since the last call."""

Sink = Callable[[bytes], None]
"""Called with each block that was received."""


class StoreError(BundleError, RemoteError):
    """A place for bundles refuses, or does not answer."""


class ContentChangedError(BundleError):
    """Content is not what its hash says: it changed while it was sent."""


class Stored(NamedTuple):
    """An object as a store lists it.

    Attributes:
        size_bytes: Its size.
        age_seconds: Time since it was written, both by the store's clock.
    """

    size_bytes: int
    age_seconds: float


class BundleStore(Protocol):
    """A place for bundles. All methods may be called from several threads."""

    url: str

    def list_content(self) -> dict[str, Stored]:
        """Returns what content is there, by its hash."""
        ...

    def put_bytes(self, sha256: str, data: bytes) -> None:
        """Stores content that is in memory. The store checks the hash before the content can be seen."""
        ...

    def put_file(self, sha256: str, file: Path, count: Counter) -> None:
        """Stores a large file in parts, several at once, and goes on where an earlier attempt was cut off.

        Raises:
            ContentChangedError: The file is not what its hash says; nothing can be seen of it.
        """
        ...

    def get_content(self, sha256: str, target: Path, sink: Sink) -> None:
        """Appends to ``target`` what it lacks of some content; ``sink`` gets the same. The caller checks the hash."""
        ...

    def delete_content(self, hashes: Iterable[str]) -> None:
        """Removes content."""
        ...

    def list_manifests(self) -> list[int]:
        """Returns the numbers of the versions, the oldest first."""
        ...

    def read_manifest(self, number: int) -> bytes:
        """Returns a version's manifest.

        Raises:
            FileNotFoundError: There is no such version.
        """
        ...

    def create_manifest(self, number: int, data: bytes) -> bool:
        """Writes a version's manifest, unless that number is taken: then it returns False and changes nothing."""
        ...

    def delete_manifest(self, number: int) -> None:
        """Removes a version's manifest."""
        ...

    def put_lock(self, name: str, data: bytes) -> None:
        """Writes a lock, or writes it again to keep it young."""
        ...

    def list_locks(self) -> dict[str, Stored]:
        """Returns the locks by name."""
        ...

    def read_lock(self, name: str) -> bytes:
        """Returns what a lock says; nothing if it is gone."""
        ...

    def delete_lock(self, name: str) -> None:
        """Removes a lock, if it is there."""
        ...

    def clean_up(self, older_than_seconds: float) -> int:
        """Removes what cut-off uploads left that nobody can see; returns how many there were."""
        ...


def content_key(sha256: str) -> str:
    """Returns where content is, below the root."""
    return f"{FILES}/{sha256[:2]}/{sha256}"


def manifest_key(number: int) -> str:
    """Returns where a version's manifest is, below the root."""
    return f"{MANIFESTS}/{number:09d}.json"


def open_store(url: str, *, encryption: str = "auto", jobs: int = 8) -> BundleStore:
    """Returns the place that a URL names.

    Args:
        url: ``s3://bucket/prefix``, ``lightning://owner/teamspace/folder``, or a local folder.
        encryption: For S3: ``AES256``, ``aws:kms``, ``none``, or ``auto``, which is ``AES256`` except on loopback.
        jobs: How many transfers at once.

    Raises:
        StoreError: There is no such kind of place, or it is not reached safely.
    """
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "s3":
        from spelling_transfer.storage.stores.s3 import S3Store

        return S3Store(url, encryption=encryption, jobs=jobs)
    if separator and scheme == "lightning":
        from spelling_transfer.storage.stores.lightning import LightningStore

        return LightningStore(url)
    if separator and scheme != "file":
        raise StoreError(f"{url}: bundles are kept at s3://bucket/prefix, lightning://owner/teamspace, or in a folder.")
    from spelling_transfer.storage.stores.folder import FolderStore

    return FolderStore(Path(rest if separator else url))
