"""Names of files in a bundle: what may come from outside and be written below a folder, and nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from spelling_transfer.storage.bundle import BundleError

RECORD = ".bundle.json"
"""The manifest of the version that a folder holds, written when it has been pushed or pulled whole."""
STAGING = ".bundle.partial"
"""Where a pull keeps what it has so far."""

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
    if _PLAIN.fullmatch(name) or (problem := _problem(name)) is None:
        return name
    raise BundleError(f"{source}: the name {name!r} {problem}. Rename the file, or leave it out with --exclude.")


def _problem(name: str) -> str | None:
    parts = name.split("/")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "is absolute"
    if ".." in parts:
        return "leads out of the root by '..'"
    if "" in parts or "." in parts:
        return "has an empty part"
    if parts[0] in {RECORD, STAGING}:
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
