"""What a place for bundles can do.

Below its root are ``files/AB/SHA256`` (content, under the hash of itself), ``manifests/NUMBER.json`` (one a version,
never written twice) and ``locks/`` (who is pushing or pruning at the moment).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from spelling_transfer.storage.bundles.local_files import BLOCK_BYTES
from spelling_transfer.storage.errors import BundleError, RemoteError

FILES, MANIFESTS, LOCKS = "files", "manifests", "locks"

PART_BYTES = 8 << 20
"""Larger files go in parts of this size, where a store takes parts."""

Counter = Callable[[int], None]
"""Called with the number of bytes done since the last call."""

Progress = Callable[[int], Counter]
"""Called with the number of bytes there will be; returns what counts them."""

Receiver = Callable[[bytes], None]
"""Called with each block that was received."""


class StoreError(BundleError, RemoteError):
    """A place for bundles refuses, or does not answer."""


class MissingError(StoreError, FileNotFoundError):
    """What a version refers to is not there."""


class Stored(NamedTuple):
    """An object as a store lists it.

    Attributes:
        size_bytes: Its size.
        age_seconds: Time since it was written, both by the store's clock.
    """

    size_bytes: int
    age_seconds: float


class BundleStore(ABC):
    """A place for bundles. All methods may be called from several threads.

    A kind of place implements the abstract methods, most of which know keys alone; the others are made of these.
    """

    url: str

    @abstractmethod
    def put_file(self, sha256: str, file: Path, count: Counter) -> None:
        """Stores a large file; where a store takes parts, only those that an earlier attempt did not send.

        Raises:
            BundleError: The file is not what its hash says; nothing can be seen of it.
        """

    @abstractmethod
    def get_content(self, sha256: str, target: Path, receive: Receiver) -> None:
        """Appends to ``target`` what it lacks of some content; ``receive`` gets the same. The caller checks the hash.

        Raises:
            MissingError: There is no such content.
        """

    @abstractmethod
    def clean_up(self, older_than_seconds: float) -> int:
        """Removes what interrupted uploads left, which nobody can see; returns how many there were."""

    @abstractmethod
    def _list(self, folder: str) -> Iterator[tuple[str, Stored]]:
        """Yields name and facts of each object at any depth below one of the three folders."""

    @abstractmethod
    def _read(self, key: str) -> bytes:
        """Returns an object.

        Raises:
            FileNotFoundError: There is no such object.
        """

    @abstractmethod
    def _write(self, key: str, data: bytes, sha256: str) -> None:
        """Writes an object, whole or not at all, after its hash was checked."""

    @abstractmethod
    def _create(self, key: str, data: bytes) -> bool:
        """Writes an object unless there is one already: then it returns False and changes nothing."""

    @abstractmethod
    def _delete(self, keys: Sequence[str]) -> None:
        """Removes objects; those that are not there are no error."""

    def list_content(self) -> dict[str, Stored]:
        """Returns what content is there, by its hash."""
        return {name: stored for name, stored in self._list(FILES) if len(name) == 64}

    def put_bytes(self, sha256: str, data: bytes) -> None:
        """Stores content that is in memory. The hash is checked before the content can be seen."""
        self._write(content_key(sha256), data, sha256)

    def delete_content(self, hashes: Iterable[str]) -> None:
        """Removes content."""
        self._delete([content_key(sha256) for sha256 in hashes])

    def list_manifests(self) -> list[int]:
        """Returns the numbers of the versions, the oldest first."""
        stems = (name.removesuffix(".json") for name, _ in self._list(MANIFESTS) if name.endswith(".json"))
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())

    def read_manifest(self, number: int) -> bytes:
        """Returns a version's manifest.

        Raises:
            FileNotFoundError: There is no such version.
        """
        return self._read(manifest_key(number))

    def create_manifest(self, number: int, data: bytes) -> bool:
        """Writes a version's manifest, unless that number is taken: then it returns False and changes nothing."""
        return self._create(manifest_key(number), data)

    def delete_manifest(self, number: int) -> None:
        """Removes a version's manifest."""
        self._delete([manifest_key(number)])

    def put_lock(self, name: str, data: bytes) -> None:
        """Writes a lock, or writes it again to keep it young."""
        self._write(f"{LOCKS}/{name}", data, hashlib.sha256(data).hexdigest())

    def list_locks(self) -> dict[str, Stored]:
        """Returns the locks by name."""
        return dict(self._list(LOCKS))

    def read_lock(self, name: str) -> bytes:
        """Returns what a lock says; nothing if it is gone."""
        try:
            return self._read(f"{LOCKS}/{name}")
        except FileNotFoundError:
            return b""

    def delete_lock(self, name: str) -> None:
        """Removes a lock, if it is there."""
        self._delete([f"{LOCKS}/{name}"])


def content_key(sha256: str) -> str:
    """Returns where content is, below the root."""
    return f"{FILES}/{sha256[:2]}/{sha256}"


def manifest_key(number: int) -> str:
    """Returns where a version's manifest is, below the root."""
    return f"{MANIFESTS}/{number:09d}.json"


def check_hash(data: bytes, sha256: str, url: str) -> None:
    """Checks content that is to be stored where nobody else checks it.

    Raises:
        BundleError: Its hash is another.
    """
    if hashlib.sha256(data).hexdigest() != sha256:
        raise BundleError(f"{url}: content {sha256[:12]} does not match its hash.")


def append_rest(content: BinaryIO, target: Path, receive: Receiver) -> None:
    """Appends to ``target`` what it lacks of some content that is read from its start."""
    with target.open("ab") as out:
        content.seek(out.tell())
        while block := content.read(BLOCK_BYTES):
            out.write(block)
            receive(block)


def no_progress(_: int) -> Counter:
    """Counts nothing."""
    return lambda _: None
