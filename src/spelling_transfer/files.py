"""Files and folders that are written whole or not at all.

Everything this package writes goes through here: a name beside the target on the same disk, a flush, and a rename.
What is new has the modes that the user's umask gives, so that others of the group can read it.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Gives a name beside ``target`` to write to, and moves it to ``target`` when the block ends well.

    Readers see the old file or the new one, never a part. When the block raises, Ctrl-C included, the partial file is
    removed and ``target`` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(target)
    try:
        yield partial
        flush_to_disk(partial)
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_text(target: Path, text: str) -> None:
    """Writes a UTF-8 text file, whole or not at all; line breaks stay as they are."""
    with whole_file(target) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Gives a new folder beside ``target`` to fill, and puts it in the place of ``target`` when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(target)
    partial.mkdir()
    try:
        yield partial
        replace_folder(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Renames ``source`` to ``target``; an older ``target`` is moved aside first and removed afterwards."""
    aside = None
    if target.exists():
        aside = target.parent / f".{target.name}.old.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        target.replace(aside)
    source.replace(target)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def partial_name(target: Path) -> Path:
    """Returns a hidden name in the same folder, hence on the same disk, so that the final move is atomic."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.partial")


def flush_to_disk(file: Path) -> None:
    """Waits until a file's bytes are on the disk: a power cut must not leave the new name with no content."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
