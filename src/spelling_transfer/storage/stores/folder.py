"""Bundles in a folder: a disk, a mounted drive, a share."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spelling_transfer.files import flush_to_disk, whole_file
from spelling_transfer.storage.stores.base import (
    FILES,
    LOCKS,
    MANIFESTS,
    ContentChangedError,
    Counter,
    Sink,
    Stored,
    StoreError,
    content_key,
    manifest_key,
)
from spelling_transfer.storage.whole import cannot_write, clock_of, reason

_BLOCK_BYTES = 1 << 20


class FolderStore:
    """Bundles below a local folder. Content is written beside its place and moved there; so is a manifest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = str(root)

    def list_content(self) -> dict[str, Stored]:
        """Returns what content is there, by its hash."""
        return {path.name: stored for path, stored in self._list(FILES, "*/*") if len(path.name) == 64}

    def put_bytes(self, sha256: str, data: bytes) -> None:
        """Stores content that is in memory."""
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ContentChangedError(f"{self.root}: content {sha256[:12]} is not what its hash says.")
        with self._writing(content_key(sha256)) as partial:
            partial.write_bytes(data)

    def put_file(self, sha256: str, file: Path, count: Counter) -> None:
        """Copies a file, checking its hash on the way."""
        digest = hashlib.sha256()
        with self._writing(content_key(sha256)) as partial, file.open("rb") as source, partial.open("wb") as target:
            while block := source.read(_BLOCK_BYTES):
                digest.update(block)
                target.write(block)
                count(len(block))
            if digest.hexdigest() != sha256:
                raise ContentChangedError(f"{file}: changed while it was copied. Run again when nothing writes to it.")

    def get_content(self, sha256: str, target: Path, sink: Sink) -> None:
        """Appends to ``target`` what it lacks of some content."""
        source = self.root / content_key(sha256)
        try:
            with source.open("rb") as stream, target.open("ab") as out:
                stream.seek(out.tell())
                while block := stream.read(_BLOCK_BYTES):
                    out.write(block)
                    sink(block)
        except FileNotFoundError as error:
            raise StoreError(f"{source}: a version refers to it, and it is missing. Push the bundle again.") from error

    def delete_content(self, hashes: Iterable[str]) -> None:
        """Removes content."""
        for sha256 in hashes:
            (self.root / content_key(sha256)).unlink(missing_ok=True)

    def list_manifests(self) -> list[int]:
        """Returns the numbers of the versions, the oldest first."""
        return sorted(int(path.stem) for path, _ in self._list(MANIFESTS, "*.json") if path.stem.isdigit())

    def read_manifest(self, number: int) -> bytes:
        """Returns a version's manifest."""
        return (self.root / manifest_key(number)).read_bytes()

    def create_manifest(self, number: int, data: bytes) -> bool:
        """Writes a version's manifest, unless that number is taken."""
        target = self.root / manifest_key(number)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
            partial = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(data)
                partial.chmod(0o644)
                flush_to_disk(partial)
                # A second name for the file: unlike a move, this fails where the name is taken.
                os.link(partial, target)
            finally:
                partial.unlink(missing_ok=True)
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError(cannot_write(str(target), error)) from error
        return True

    def delete_manifest(self, number: int) -> None:
        """Removes a version's manifest."""
        (self.root / manifest_key(number)).unlink(missing_ok=True)

    def put_lock(self, name: str, data: bytes) -> None:
        """Writes a lock, or writes it again to keep it young."""
        with self._writing(f"{LOCKS}/{name}") as partial:
            partial.write_bytes(data)

    def list_locks(self) -> dict[str, Stored]:
        """Returns the locks by name."""
        return {path.name: stored for path, stored in self._list(LOCKS, "[!.]*")}

    def read_lock(self, name: str) -> bytes:
        """Returns what a lock says; nothing if it is gone."""
        with suppress(FileNotFoundError):
            return (self.root / LOCKS / name).read_bytes()
        return b""

    def delete_lock(self, name: str) -> None:
        """Removes a lock, if it is there."""
        (self.root / LOCKS / name).unlink(missing_ok=True)

    def clean_up(self, older_than_seconds: float) -> int:
        """Removes partial files that nobody is writing any more."""
        old = [path for path, stored in self._list("", "**/.*.partial") if stored.age_seconds > older_than_seconds]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _list(self, folder: str, pattern: str) -> Iterator[tuple[Path, Stored]]:
        now = clock_of(self.root) if (self.root / folder).is_dir() else 0.0
        for path in (self.root / folder).glob(pattern):
            with suppress(FileNotFoundError):
                status = path.stat()
                yield path, Stored(status.st_size, now - status.st_mtime)

    @contextmanager
    def _writing(self, key: str) -> Iterator[Path]:
        try:
            with whole_file(self.root / key) as partial:
                yield partial
        except FileNotFoundError as error:
            raise StoreError(f"{error.filename or key}: {reason(error)}.") from error
        except OSError as error:
            raise StoreError(cannot_write(str(self.root / key), error)) from error
