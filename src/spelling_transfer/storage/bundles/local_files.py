"""A folder as a bundle sees it: names that can travel, files that may have changed, and what is known of them."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import stat
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import fsspec

from spelling_transfer.files import FINDER, write_text
from spelling_transfer.storage.access import cache_folder
from spelling_transfer.storage.errors import BundleError

RECORD = ".bundle.json"
"""The manifest of the version that a folder holds, written when it has been pushed or pulled whole."""
STAGING = ".bundle.partial"
"""Where a pull keeps what it has so far."""
BLOCK_BYTES = 1 << 20

_TICK_SECONDS = 2.0
"""The coarsest clock of a file system in use: what changes twice within a tick has one time."""
_BEING_WRITTEN = (".partial", ".tmp")
_CREDENTIALS = re.compile(
    r"(.*/)?(conf/local/.*|credentials|credentials[^/]*(/.*|\.(ya?ml|json|toml|ini))|\.env([.-][^/]*)?|\.netrc"
    r"|[^/]*\.(pem|key)|id_(rsa|ecdsa|ed25519))"
)
"""Where Kedro, AWS, SSH and others keep what nobody else may have, and the keys that sign versions."""
_MAX_PART_BYTES, _MAX_BYTES = 240, 900
_PLAIN = re.compile(r"(?:[\w-][\w.-]{0,98}[\w-]/){0,7}[\w-][\w.-]{0,98}[\w-]", re.ASCII)
"""Most names are like this, and none of these is refused; with thousands of files the long way takes a while."""


def check_name(name: str, source: str) -> str:
    """Returns a file's name if it is one that can be written on every system and stays below its root.

    Args:
        name: A path relative to the root, parts separated by ``/``.
        source: Where it comes from, for the message.

    Raises:
        BundleError: It leads out of the root, or has characters that some system cannot keep.
    """
    if _PLAIN.fullmatch(name) or (problem := _problem_of_name(name)) is None:
        return name
    raise BundleError(f"{source}: the name {name!r} {problem}. Rename the file, or leave it out with --exclude.")


def _problem_of_name(name: str) -> str | None:
    parts = name.split("/")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "is absolute"
    if ".." in parts:
        return "leads out of the root by '..'"
    if "" in parts or "." in parts:
        return "has an empty part"
    if parts[0].casefold() in {RECORD, STAGING}:
        return "is a name that bundles use themselves"
    if "\\" in name or any(unicodedata.category(character) in {"Cc", "Cs", "Cf", "Co"} for character in name):
        return "has a backslash or characters that cannot be seen"
    if any(part != part.strip() or part.endswith(".") for part in parts):
        return "has a part that begins or ends with a space, or ends with a dot"
    if unicodedata.normalize("NFC", name) != name:
        return "is not in Unicode's composed form (NFC), which another system would change"
    if len(name.encode()) > _MAX_BYTES or any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        return f"is longer than {_MAX_BYTES} bytes, or a part of it longer than {_MAX_PART_BYTES}"
    return None


def check_names(names: Iterable[str], source: str) -> None:
    """Checks every name, and that no two would be one file on a system that ignores case.

    Raises:
        BundleError: A name cannot be used, or two are too much alike.
    """
    seen: dict[str, str] = {}
    folders: set[str] = set()
    for name in names:
        check_name(name, source)
        folded = name.casefold()
        if folded in seen:
            raise BundleError(
                f"{source}: {seen[folded]!r} and {name!r} differ in case alone; a Mac would keep one of them."
            )
        seen[folded] = name
        folders.update(folded[:place] for place, character in enumerate(folded) if character == "/")
    if both := sorted(folders & set(seen)):
        raise BundleError(f"{source}: {seen[both[0]]!r} is a file and a folder.")


def place_below(root: Path, name: str, source: str) -> Path:
    """Returns where a checked name goes below ``root``.

    Raises:
        BundleError: A link on the way leads out of the root.
    """
    target = root / check_name(name, source)
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise BundleError(f"{root}: {name!r} would be written through a link that leads out of the folder.")
    return target


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
            BundleError: Something wrote to it since.
        """
        try:
            now = _stamp(self.path.stat())
        except FileNotFoundError:
            now = (0, 0, 0, 0)
        if now != self.stamp:
            raise BundleError(
                f"{self.path}: changed while it was read. Wait until nothing writes to it, and run again."
            )


class FolderScan(NamedTuple):
    """What a folder holds.

    Attributes:
        files: The files that travel, in the order of their names.
        left_out: What cannot travel and nobody needs, what may hold credentials, and patterns that no file is
            like, each with the reason.
    """

    files: list[LocalFile]
    left_out: list[str]


def may_hold_credentials(root: Path, name: str) -> bool:
    """Whether a file is one of credentials by its place and name.

    Args:
        root: The folder of the bundle, which may be ``conf`` itself.
        name: The file's name below it.
    """
    place = root.resolve()
    return _CREDENTIALS.fullmatch(f"{place.parent.name}/{place.name}/{name}") is not None


def everything_is_needed(_: Path) -> bool:
    """Says that nothing may be missing from a bundle."""
    return True


def scan_folder(
    root: Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    is_needed: Callable[[Path], bool] = everything_is_needed,
) -> FolderScan:
    """Lists the files below a folder.

    Not even looked at are what the patterns leave out, what is being written at the moment (``.NAME.partial``,
    ``.NAME.tmp``), ``.gitkeep``, what a Mac's Finder leaves, and a bundle's own records. What may hold credentials
    (``conf/local``, ``credentials.yml``, ``.env``, ``ours.pem``) is left out unless ``include`` has its whole name.

    Args:
        root: The folder.
        include: Patterns such as ``03_primary/*``; a file must match one. None takes all.
        exclude: Patterns of files to leave out.
        is_needed: Whether the bundle would be incomplete without this path. What cannot travel is an error if it is
            needed, and left out if not, such as a link to a library's cache.

    Raises:
        BundleError: There is no such folder, a name cannot travel, or something needed is no file of the folder's own
            (a link that leads out, a socket) or may not be read.
    """
    if not root.is_dir():
        raise BundleError(f"{root}: there is no such folder.")
    files, left_out, seen = [], [], list[str]()
    for name, path, problem in _walk(root, root.resolve()):
        # A pattern such as 'models/*' also means a folder 'models' that could not be entered.
        names = (name, f"{name}/") if problem else (name,)
        if include and not _matches(names, include):
            continue
        seen += names
        if _matches(names, exclude):
            continue
        if name not in include and may_hold_credentials(root, name):
            left_out.append(f"{name}: may hold credentials; --include with its whole name takes it along")
            continue
        status = None if problem else path.stat()
        if status is not None and stat.S_ISREG(status.st_mode):
            files.append(LocalFile(name, path, status.st_size, _stamp(status)))
            continue
        reason = problem or "neither a file nor a folder"
        if is_needed(path):
            raise BundleError(f"{path}: {reason}. Put the files themselves there, or leave it out with --exclude.")
        left_out.append(f"{name}: {reason}, and no dataset needs it")
    files.sort(key=lambda file: file.name)
    check_names((file.name for file in files), str(root))
    unused = (pattern for pattern in include if not _matches(seen, (pattern,)))
    left_out += [f"{pattern}: no file is like this pattern" for pattern in unused]
    return FolderScan(files, sorted(left_out))


def find_file(root: Path, name: str) -> LocalFile | None:
    """Returns one file below a folder; ``None`` if there is none, or a link in its place."""
    path = root / name
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return LocalFile(name, path, status.st_size, _stamp(status)) if stat.S_ISREG(status.st_mode) else None


def _matches(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)


def _walk(folder: Path, root: Path, prefix: str = "") -> Iterator[tuple[str, Path, str | None]]:
    """Gives names, where they are, and why one cannot travel."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except PermissionError:
        yield prefix.rstrip("/") or ".", folder, "a folder that you may not read"
        return
    for entry in found:
        name = prefix + entry.name
        if name in {RECORD, STAGING} or entry.name in (".gitkeep", FINDER):
            continue
        if entry.name.startswith(".") and entry.name.endswith(_BEING_WRITTEN):
            continue
        path = Path(entry.path)
        if entry.is_symlink() and (problem := _problem_of_link(path, root)) is not None:
            yield name, path, f"a link to {path.readlink()}, {problem}"
        elif entry.is_dir():
            yield from _walk(path, root, f"{name}/")
        else:
            yield name, path, None


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


def file_facts(
    path: str, filesystem: fsspec.AbstractFileSystem | None = None, *, data: bytes | None = None, tables: bool = True
) -> dict[str, Any]:
    """Returns what a manifest says of a file: ``sha256``, ``size_bytes``, and of a Parquet file ``rows``, ``schema``.

    Args:
        path: The file.
        filesystem: Where it is; the local disk by default.
        data: Its content, if it is in memory already.
        tables: Whether to look into tables; without that a damaged one has a hash like any other file.

    Raises:
        OSError: The file cannot be read.
        pyarrow.ArrowInvalid: A Parquet file's footer is damaged.
    """
    filesystem = filesystem or fsspec.filesystem("file")
    digest, size = hashlib.sha256(), 0
    with filesystem.open(path, "rb") if data is None else BytesIO(data) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    facts: dict[str, Any] = {"sha256": digest.hexdigest(), "size_bytes": size}
    if tables and path.endswith(".parquet"):
        import pyarrow.parquet as pq

        with filesystem.open(path, "rb") as file, pq.ParquetFile(file) as table:
            facts["rows"] = table.metadata.num_rows
            facts["schema"] = {field.name: str(field.type) for field in table.schema_arrow}
    return facts


def read_facts(file: LocalFile, data: bytes | None = None, *, tables: bool = True) -> dict[str, Any]:
    """Returns :func:`file_facts` of a local file that stands still.

    Raises:
        BundleError: It changed while it was read, cannot be read, or is a damaged table.
    """
    try:
        facts = file_facts(str(file.path), data=data, tables=tables)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        file.check_unchanged()
        raise BundleError(f"{file.path}: cannot be read: {error}") from error
    file.check_unchanged()
    return facts


class FactsCache:
    """What was found out about files, kept between runs of the program, by path and stamp.

    A file that was changed within a tick of the clock before it was read could be changed once more and keep its
    stamp. So it is not kept, and is read again the next time, as git does with its index ("racy" entries).
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
        """Returns the facts of a file that is as it was when they were kept."""
        entry = self._facts.get(file.name)
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] != list(file.stamp):
            return None
        return dict(entry[1])

    def put(self, file: LocalFile, facts: dict[str, Any]) -> None:
        """Keeps the facts of a file, unless it was changed a moment ago or its times are of the future."""
        if self._now() - max(file.stamp[1:3]) / 1e9 > _TICK_SECONDS:
            self._facts[file.name] = [list(file.stamp), facts]
            self._changed = True

    def save(self) -> None:
        """Writes the cache; it is only a help, so a full disk is no error."""
        if not self._changed:
            return
        try:
            write_text(self._file, json.dumps(self._facts))
        except OSError:
            return
        self._changed = False

    def _now(self) -> float:
        if self._ahead_seconds is None:
            self._ahead_seconds = clock_of(self._root) - time.time()
        return time.time() + self._ahead_seconds


def clock_of(folder: Path) -> float:
    """Returns the time by the clock that gives a folder's files their times.

    On a mounted drive that is its server's clock. Where no file can be made, it is this machine's.
    """
    try:
        with NamedTemporaryFile(prefix=".", suffix=".tmp", dir=folder) as file:
            return Path(file.name).stat().st_mtime
    except OSError:
        return time.time()
