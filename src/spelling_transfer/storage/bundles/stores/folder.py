"""Bundles in a folder: a disk, a mounted drive, a share."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from spelling_transfer.files import whole_file, write_bytes
from spelling_transfer.storage.bundles.local_files import BLOCK_BYTES, clock_of
from spelling_transfer.storage.bundles.stores.base import (
    FILES,
    LOCKS,
    MANIFESTS,
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
from spelling_transfer.storage.errors import BundleError, cannot_write, reason


class FolderStore(BundleStore):
    """Bundles below a local folder. Content is written beside its place and moved there; so is a manifest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def put_file(self, sha256: str, file: Path, count: Counter) -> None:
        """Copies a file, checking its hash on the way."""
        digest, place = hashlib.sha256(), self.root / content_key(sha256)
        with _explained(place), whole_file(place) as partial:
            with file.open("rb") as source, partial.open("wb") as target:
                while block := source.read(BLOCK_BYTES):
                    digest.update(block)
                    target.write(block)
                    count(len(block))
            if digest.hexdigest() != sha256:
                raise BundleError(f"{file}: changed while it was copied. Run again when nothing writes to it.")

    def get_content(self, sha256: str, target: Path, receive: Receiver) -> None:
        """Appends to ``target`` what it lacks of some content."""
        source = self.root / content_key(sha256)
        try:
            with _reading(source):
                stream = source.open("rb")
        except FileNotFoundError as error:
            raise MissingError(
                f"{source}: a version refers to it, and it is missing. Push the bundle again from a folder that has it."
            ) from error
        with stream:
            append_rest(stream, target, receive)

    def clean_up(self, older_than_seconds: float) -> int:
        """Removes partial files that nobody is writing any more."""
        found = (each for folder in (FILES, MANIFESTS, LOCKS) for each in self._find(f"{folder}/**/.*.partial"))
        old = [path for path, stored in found if stored.age_seconds > older_than_seconds]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _list(self, folder: str) -> Iterator[tuple[str, Stored]]:
        with suppress(FileNotFoundError), _reading(self.root / folder):
            os.scandir(self.root / folder).close()  # a search passes over what may not be read
        for path, stored in self._find(f"{folder}/**/[!.]*"):
            yield path.name, stored

    def _find(self, pattern: str) -> Iterator[tuple[Path, Stored]]:
        now = clock_of(self.root)
        for path in self.root.glob(pattern):
            with suppress(FileNotFoundError):
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    yield path, Stored(status.st_size, now - status.st_mtime)

    def _read(self, key: str) -> bytes:
        with _reading(self.root / key):
            return (self.root / key).read_bytes()

    def _write(self, key: str, data: bytes, sha256: str) -> None:
        check_hash(data, sha256, self.url)
        with _explained(self.root / key):
            write_bytes(self.root / key, data)

    def _create(self, key: str, data: bytes) -> bool:
        target = self.root / key
        with _explained(target):
            try:
                write_bytes(target, data, replace=False)
            except FileExistsError:
                if not target.exists():
                    raise
                return False
        return True

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            (self.root / key).unlink(missing_ok=True)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{error.filename or target}: {reason(error)}.") from error
    except OSError as error:
        raise StoreError(cannot_write(str(target), error)) from error


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{source} cannot be read: {reason(error)}.") from error
