"""What is in a local folder: names, sizes and hashes; a file is read again only if it may have changed."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spelling_transfer.files import whole_file
from spelling_transfer.storage.bundle import BundleError, table_facts
from spelling_transfer.storage.bundle_names import RECORD, STAGING, check_names
from spelling_transfer.storage.remote_folder import cache_folder
from spelling_transfer.storage.whole import clock_of

_BLOCK_BYTES = 1 << 20
_TICK_SECONDS = 2.0
"""The coarsest clock of a file system in use: what changes twice within a tick has one time."""
_OURS = (".partial", ".tmp")


class FileChangedError(BundleError):
    """A file changed while it was read."""


@dataclass(frozen=True)
class LocalFile:
    """A file as it was found.

    Attributes:
        name: Path below the root, with ``/``.
        path: Where it is.
        size_bytes: Its size.
        stamp: Size, times and number of the file: if these are the same, so is its content.
    """

    name: str
    path: Path
    size_bytes: int
    stamp: tuple[int, int, int, int]

    def check_unchanged(self) -> None:
        """Compares the file with how it was found.

        Raises:
            FileChangedError: Something wrote to it since.
        """
        try:
            now = _stamp(self.path.stat())
        except FileNotFoundError:
            now = (0, 0, 0, 0)
        if now != self.stamp:
            raise FileChangedError(
                f"{self.path}: changed while it was read. Wait until nothing writes to it, and run again."
            )


def scan_folder(root: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[LocalFile]:
    """Lists the files below a folder, in the order of their names.

    Left out are what is being written at the moment (``.NAME.partial``, ``.NAME.tmp``), ``.gitkeep``, and a bundle's
    own records.

    Args:
        root: The folder.
        include: Patterns such as ``03_primary/*``; a file must match one. None takes all.
        exclude: Patterns of files to leave out.

    Raises:
        BundleError: There is no such folder, a name cannot travel, or a link leads out of the folder.
    """
    if not root.is_dir():
        raise BundleError(f"{root}: there is no such folder.")
    files = []
    for name, path in _walk(root, root.resolve()):
        if include and not any(fnmatch.fnmatchcase(name, pattern) for pattern in include):
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude):
            continue
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path}: neither a file nor a folder. Leave it out with --exclude.")
        files.append(LocalFile(name, path, status.st_size, _stamp(status)))
    files.sort(key=lambda file: file.name)
    check_names((file.name for file in files), str(root))
    return files


def find_file(root: Path, name: str) -> LocalFile | None:
    """Returns one file below a folder; ``None`` if there is none, or a link in its place."""
    path = root / name
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return LocalFile(name, path, status.st_size, _stamp(status)) if stat.S_ISREG(status.st_mode) else None


def _walk(folder: Path, root: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        name = prefix + entry.name
        if name in {RECORD, STAGING} or entry.name == ".gitkeep":
            continue
        if entry.name.startswith(".") and entry.name.endswith(_OURS):
            continue
        path = Path(entry.path)
        if entry.is_symlink() and (problem := _problem_of_link(path, root)) is not None:
            raise BundleError(
                f"{path}: a link to {path.readlink()}, {problem}. Put the files themselves there, or leave it out with "
                "--exclude."
            )
        if entry.is_dir():
            yield from _walk(path, root, f"{name}/")
        else:
            yield name, path


def _problem_of_link(link: Path, root: Path) -> str | None:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # the latter is what a loop is in older versions of Python
        return "which leads nowhere"
    if target.is_dir():
        return "which is a folder"
    return None if target.is_relative_to(root) else "which is outside"


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    # The time of the last change of the inode cannot be set back by a program, unlike that of the content.
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def read_facts(file: LocalFile, data: bytes | None = None, *, tables: bool = True) -> dict[str, Any]:
    """Returns hash, size and, of a table, rows and columns.

    Args:
        file: The file.
        data: Its content, if it is in memory already.
        tables: Whether to look into tables; without that a damaged one has a hash like any other file.

    Raises:
        FileChangedError: It changed while it was read.
        BundleError: It cannot be read, or is a damaged table.
    """
    digest = hashlib.sha256()
    try:
        if data is not None:
            digest.update(data)
        else:
            with file.path.open("rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
        facts: dict[str, Any] = {"sha256": digest.hexdigest(), "size_bytes": file.size_bytes}
        if tables and file.name.endswith(".parquet"):
            facts |= table_facts(str(file.path))
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        file.check_unchanged()
        raise BundleError(f"{file.path}: cannot be read: {error}") from error
    file.check_unchanged()
    return facts


class FactsCache:
    """What was found out about files, kept between runs of the program, by path and stamp.

    A file that was changed within a tick of the clock before it was read could be changed once more and keep its
    stamp. So it is not noted, and is read again the next time, as git does with its index ("racy" entries).
    """

    def __init__(self, root: Path) -> None:
        """Opens the cache of a folder; a damaged one is as good as none."""
        self._root = root
        self._ahead_seconds: float | None = None
        key = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:32]
        self._file = cache_folder() / "facts" / f"{key}.json"
        self._facts: dict[str, list[Any]] = {}
        self._changed = False
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                self._facts = content
        except (OSError, ValueError):
            pass

    def get(self, file: LocalFile) -> dict[str, Any] | None:
        """Returns the facts of a file that is as it was when they were noted."""
        entry = self._facts.get(file.name)
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] != list(file.stamp):
            return None
        return dict(entry[1])

    def put(self, file: LocalFile, facts: dict[str, Any]) -> None:
        """Notes the facts of a file, unless it was changed a moment ago or its times are of the future."""
        if self._now() - max(file.stamp[1:3]) / 1e9 > _TICK_SECONDS:
            self._facts[file.name] = [list(file.stamp), facts]
            self._changed = True

    def save(self) -> None:
        """Writes the cache; it is only a help, so a full disk is no error."""
        if not self._changed:
            return
        try:
            with whole_file(self._file) as partial:
                partial.write_text(json.dumps(self._facts), encoding="utf-8")
        except OSError:
            return
        self._changed = False

    def _now(self) -> float:
        if self._ahead_seconds is None:
            self._ahead_seconds = clock_of(self._root) - time.time()
        return time.time() + self._ahead_seconds
