"""Prints what a version changes, from CHANGELOG.md: ``python scripts/release_notes.py [VERSION]``.

Without a version it is the newest. Paste it into the release, or ``gh release create v0.1.0 --notes-file -``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def release_notes(changelog: str, version: str | None = None) -> str:
    """Returns the section of a version, each entry on one line, as forges show line breaks.

    Args:
        changelog: The text of CHANGELOG.md.
        version: The version; the newest by default.

    Raises:
        ValueError: The changelog has no such version, or nothing under it.
    """
    parts = re.split(r"^## +(\S+).*$", changelog, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    version = version or next(iter(sections), "")
    if version not in sections:
        raise ValueError(f"CHANGELOG.md has no version {version!r}. Known: {', '.join(sections) or 'none'}.")
    notes = re.sub(r"\n +(?=\S)", " ", sections[version]).strip()
    if not notes:
        raise ValueError(f"CHANGELOG.md says nothing about version {version}.")
    return notes + "\n"


if __name__ == "__main__":
    try:
        sys.stdout.write(release_notes(CHANGELOG.read_text(encoding="utf-8"), *sys.argv[1:2]))
    except ValueError as error:
        sys.exit(str(error))
