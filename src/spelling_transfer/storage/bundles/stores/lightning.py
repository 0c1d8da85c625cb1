"""Bundles on the drive of a Lightning teamspace, through the platform's own library.

The drive has no conditional write, so two pushes at once could take one number: push from one machine at a time. It
cannot remove files either, so nothing is pruned there, and it checks no hashes: whoever pulls does.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kedro_lightning.platform.client import import_sdk, signed_in
from spelling_transfer.errors import first_line
from spelling_transfer.files import sha256_of
from spelling_transfer.storage.bundles.stores.base import (
    BundleStore,
    Counter,
    MissingError,
    Receiver,
    Stored,
    StoreError,
    append_rest,
    check_hash,
    content_key,
)
from spelling_transfer.storage.errors import BundleError


class LightningStore(BundleStore):
    """Bundles below ``lightning://owner/teamspace/folder``."""

    def __init__(self, url: str) -> None:
        """Finds the teamspace.

        Raises:
            StoreError: The URL names none, nobody is signed in, or there is no such teamspace.
        """
        parts = url.removeprefix("lightning://").strip("/").split("/")
        if len(parts) < 2 or not all(parts):
            raise StoreError(f"{url}: names no teamspace; it is lightning://owner/teamspace/folder.")
        self.url = url.rstrip("/")
        self._root = "/".join(["bundles", *parts[2:]])
        self._teamspace = _find_teamspace(parts[0], parts[1], self.url)

    def put_file(self, sha256: str, file: Path, count: Counter) -> None:
        """Stores a large file; the platform's library sends it in parts."""
        self._upload(content_key(sha256), file)
        if sha256_of(file) != sha256:  # what was sent is what is there now, or it changed meanwhile
            raise BundleError(f"{file}: changed while it was sent. Run again when nothing writes to it.")
        count(file.stat().st_size)

    def get_content(self, sha256: str, target: Path, receive: Receiver) -> None:
        """Fetches content; the drive cannot resume an interrupted transfer, so it begins again."""
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            whole = Path(folder) / "content"
            self._download(content_key(sha256), whole)
            with whole.open("rb") as stream:
                append_rest(stream, target, receive)

    def clean_up(self, older_than_seconds: float) -> int:
        """Does nothing: what an interrupted upload left is the platform's to remove."""
        return 0

    def put_lock(self, name: str, data: bytes) -> None:
        """Refuses a prune; a push needs no lock where nothing can be removed."""
        if name.startswith("prune"):
            self._delete([name])

    def list_locks(self) -> dict[str, Stored]:
        """Returns no locks; see :meth:`put_lock`."""
        return {}

    def delete_lock(self, name: str) -> None:
        """Does nothing; see :meth:`put_lock`."""

    def _list(self, folder: str) -> Iterator[tuple[str, Stored]]:
        with self._explained(folder):
            entries = self._teamspace.list_files(f"{self._root}/{folder}", recursive=True)
        for entry in entries:
            if entry.size is not None:
                yield entry.path.rsplit("/", 1)[-1], Stored(int(entry.size), 0.0)

    def _read(self, key: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "content"
            self._download(key, file)
            return file.read_bytes()

    def _write(self, key: str, data: bytes, sha256: str) -> None:
        check_hash(data, sha256, self.url)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "content"
            file.write_bytes(data)
            self._upload(key, file)

    def _create(self, key: str, data: bytes) -> bool:
        folder, _, name = key.partition("/")
        if any(found == name for found, _ in self._list(folder)):
            return False
        self._write(key, data, hashlib.sha256(data).hexdigest())
        return self._read(key) == data

    def _delete(self, keys: Sequence[str]) -> None:
        if keys:
            raise StoreError(
                f"{self.url}: the drive of a teamspace lets nothing be removed from here. Use the web page."
            )

    def _upload(self, key: str, file: Path) -> None:
        with self._explained(key):
            self._teamspace.upload_file(str(file), remote_path=f"{self._root}/{key}", progress_bar=False)

    def _download(self, key: str, target: Path) -> None:
        with self._explained(key):
            self._teamspace.download_file(f"{self._root}/{key}", str(target))

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        import warnings

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the default cloud account is used is what we want
                yield
        except Exception as error:
            if "404" in str(error) or "not found" in str(error).lower():
                raise MissingError(f"{self.url}: {key} is missing there. Push the bundle again.") from error
            raise StoreError(f"{self.url}: {key}: the platform refuses ({first_line(error)[:200]}).") from error


def _find_teamspace(owner: str, name: str, url: str) -> Any:
    if not signed_in():  # the library would open a browser and wait
        raise StoreError(f"{url}: not signed in: set LIGHTNING_API_KEY, or run 'lightning login'.")
    import_sdk()
    from lightning_sdk import Teamspace

    try:
        return Teamspace(f"{owner}/{name}")
    except Exception as error:
        raise StoreError(
            f"{url}: this teamspace does not exist, or is not yours ({first_line(error)[:200]})."
        ) from error
