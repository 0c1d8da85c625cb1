"""Files and folders that are written whole or not at all.

Everything this package writes goes through here: a name beside the target on the same disk, a flush, and a rename.
What is new has the modes that the user's umask gives, so that others of the group can read it.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAME_PATTERN, NAME_LENGTH = r"^\w([\w.-]*[\w-])?$", 100
"""Of a name that becomes a file's or a folder's: it leads nowhere else, is not hidden, and every system keeps it.

The length stands apart: a count of letters of all alphabets in a pattern costs each command 20 ms.
"""
NAME_RULE = "letters, digits, '_', '-' and '.', at most 100, the first a letter, digit or '_', the last no '.'"

_ABANDONED_SECONDS = 86400.0
"""What was begun so long ago, nobody is writing any more."""

_TRIES, _TAKEN = 3, (errno.ENOTEMPTY, errno.EEXIST)
"""How often a folder is put in place where another writer is faster, and what the system says then."""

FINDER = ".DS_Store"
"""What a Mac leaves in each folder that somebody looks into: nobody's data."""


def is_name(text: str) -> bool:
    """Returns whether a name can be a file's or a folder's; ``..`` and what holds a separator cannot."""
    return len(text) <= NAME_LENGTH and re.fullmatch(NAME_PATTERN, text) is not None and not text.endswith("\n")


def from_here(path: str) -> str:
    """Returns a path as seen from the current folder where it lies below that; a URL stays as it is."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def sha256_of(file: Path) -> str:
    """Returns the hash of what a file holds."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def whole_file(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """Gives a name beside ``target`` to write to, and moves it to ``target`` when the block ends well.

    Readers see the old file or the new one, never a part. When the block raises, Ctrl-C included, the partial file is
    removed and ``target`` stays as it was.

    Args:
        target: The file.
        replace: Whether a file of that name is replaced. If not, of several writers at once one succeeds.

    Raises:
        FileExistsError: There is such a file, and it is not to be replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(target)
    try:
        yield partial
        _finish(partial)
        if replace:
            partial.replace(target)
        else:
            try:
                target.hardlink_to(partial)  # a second name; unlike a move, this fails where the name is taken
            except FileExistsError:
                raise
            except OSError:  # such as on a memory stick, which has no second names: an empty file takes the name first
                target.touch(exist_ok=False)
                try:
                    partial.replace(target)
                except BaseException:
                    target.unlink(missing_ok=True)
                    raise
    except OSError as error:
        _say_where(error, target)
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Writes a UTF-8 text file, whole or not at all; line breaks stay as they are."""
    write_bytes(target, text.encode())


def write_bytes(target: Path, data: bytes, *, replace: bool = True) -> None:
    """Writes a file, whole or not at all.

    Raises:
        FileExistsError: There is such a file, and it is not to be replaced.
    """
    with whole_file(target, replace=replace) as partial:
        partial.write_bytes(data)


@contextmanager
def whole_folder(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """Gives a new folder beside ``target`` to fill, and moves it to ``target`` when the block ends well.

    Args:
        target: The folder.
        replace: Whether a folder of that name is replaced; see :func:`replace_folder`.

    Raises:
        FileExistsError: There is such a folder, not an empty one, and it is not to be replaced.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(target)
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _finish(file)
        if replace:
            replace_folder(partial, target)
        else:
            _rename(partial, target)
        _remove_abandoned(target)
    except OSError as error:
        _say_where(error, target)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def copy_folder(source: Path, target: Path) -> None:
    """Copies what a folder holds into another, new or not; links are followed.

    ``shutil.copytree`` goes on after a failure and ends with a list of texts, in which it is lost that a disk is full.
    This ends at the first failure, with its own error.

    Raises:
        OSError: A file or folder cannot be read or written.
    """

    def fail(error: OSError) -> None:
        raise error

    for folder, _, files in os.walk(source, onerror=fail, followlinks=True):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy2(Path(folder, file), place)


def replace_folder(source: Path, target: Path) -> None:
    """Renames ``source`` to ``target``; an older ``target`` is moved aside first and removed afterwards.

    Between the two renames there is no ``target``: a file system has no single step for folders that hold something.
    Of several writers at once the last one's folder stays.
    """
    for tries_left in range(_TRIES - 1, -1, -1):
        try:
            _replace_folder(source, target)
            return
        except OSError as error:
            if error.errno not in _TAKEN or not tries_left:
                raise


def _replace_folder(source: Path, target: Path) -> None:
    aside = None
    if target.exists():
        with suppress(FileNotFoundError):  # another writer has just moved it aside
            aside = target.replace(partial_name(target))
    try:
        source.replace(target)
    except BaseException:
        if aside is not None:
            try:
                aside.replace(target)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                shutil.rmtree(aside, ignore_errors=True)  # another writer's stands there
        raise
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def partial_name(target: Path) -> Path:
    """Returns a hidden name in the same folder, hence on the same disk, so that the final move is atomic."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.partial")


def _say_where(error: OSError, target: Path) -> None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
        error.filename = str(target)  # the system does not say which disk is full


def _remove_abandoned(target: Path) -> None:
    """Removes what processes that were killed left beside a folder: a model's is gigabytes, and hidden."""
    for folder in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(folder)


def _finish(file: Path) -> None:
    flush_to_disk(file)
    # Some libraries, such as safetensors, write to a temporary file of their own that others may not read.
    if not file.stat().st_mode & 0o077 and not file.is_symlink():
        file.chmod(_mode_of_new_files(file))


def _mode_of_new_files(beside: Path) -> int:
    """Returns the mode that a new file gets there; the umask itself cannot be asked for without setting it."""
    probe = partial_name(beside)
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        probe.unlink()


def flush_to_disk(file: Path) -> None:
    """Waits until a file's bytes are on the disk: a power cut must not leave the new name with no content."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(source: Path, target: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        if target.is_dir():
            raise FileExistsError(error.errno, "a folder of that name is there already", str(target)) from error
        raise
