"""Draws the rooms of the code and the arrows between them into docs/design.md: ``python scripts/draw_house.py``.

Rows come from the import contract ``layers`` in pyproject.toml, arrows from the imports that the code has. An arrow
that follows from two others is left out, so that the picture can be read.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design.md"
_BLOCK = re.compile(r"(?<=<!-- house -->\n)```mermaid\n.*?```\n", re.DOTALL)
STUDY, PLUGINS = "spelling_transfer", ("kedro_lightning", "kedro_non_thinking")


def layers() -> list[list[str]]:
    """Returns the rooms of the study by row, the highest first, as the contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["id"] == "layers"]
    return [re.split(r"\s*[|:]\s*", row.strip("() ")) for row in contract["layers"]]


def arrows(rooms: list[str]) -> set[tuple[str, str]]:
    """Returns which room imports which, without the arrows that follow from others."""
    import grimp

    graph = grimp.build_graph(STUDY, *PLUGINS, exclude_type_checking_imports=True)
    modules = {room: room if room in PLUGINS else f"{STUDY}.{room}" for room in rooms}
    room_of = {module: room for room, name in modules.items() for module in {name, *graph.find_descendants(name)}}
    direct: dict[str, set[str]] = {room: set() for room in rooms}
    for module, room in room_of.items():
        direct[room] |= {room_of.get(each, room) for each in graph.find_modules_directly_imported_by(module)} - {room}

    def reached(start: str) -> set[str]:
        found, waiting = set[str](), list(direct[start])
        while waiting:
            room = waiting.pop()
            if room not in found:
                found.add(room)
                waiting += direct[room]
        return found

    return {
        (one, other)
        for one in rooms
        for other in direct[one]
        if not any(other in reached(between) for between in direct[one] - {other})
    }


def picture() -> str:
    """Returns the Mermaid block."""
    rows = [*layers(), list(PLUGINS)]
    drawn = arrows([room for row in rows for room in row])
    lines = ["```mermaid", "flowchart TD"]
    for number, row in enumerate(rows):
        lines.append(f'  subgraph row{number}[" "]')
        lines += [f"    {room}" for room in row]
        lines.append("  end")
    lines += [f"  {one} --> {other}" for one, other in sorted(drawn)]
    return "\n".join([*lines, "```", ""])


def main() -> int:
    """Writes the picture; with ``--check`` only says whether the page has it."""
    page = PAGE.read_text("utf-8")
    new = _BLOCK.sub(lambda _: picture(), page)
    if "--check" in sys.argv[1:]:
        return int(new != page)
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
