"""The house: its picture is current, nothing runs in circles, and no module has outgrown its idea."""

from __future__ import annotations

import re
from pathlib import Path

import draw_house
import grimp

ROOT = Path(__file__).parents[1]
MOST_LINES = 500
PACKAGES = ("spelling_transfer", "kedro_lightning", "kedro_non_thinking")


def circles(*packages: str) -> dict[str, set[tuple[str, str]]]:
    """Returns, for each package, imports that would have to go to break the circles between its children."""
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=True)
    found = {
        package: graph.nominate_cycle_breakers(package)
        for package in sorted(graph.modules)
        if graph.find_children(package)
    }
    return {package: breakers for package, breakers in found.items() if breakers}


def test_the_picture_of_the_rooms_is_current():
    page = (ROOT / "docs" / "design.md").read_text("utf-8")
    assert draw_house.picture() in page, "Draw it again: python scripts/draw_house.py"


def test_the_picture_follows_the_contract(monkeypatch):
    rows = draw_house.layers()
    monkeypatch.setattr(draw_house, "layers", lambda: rows[1:])
    assert draw_house.picture() not in (ROOT / "docs" / "design.md").read_text("utf-8")


def test_no_imports_run_in_a_circle_at_any_depth():
    assert circles(*PACKAGES) == {}


def test_a_circle_would_be_found(tmp_path, monkeypatch):
    package = tmp_path / "round_house"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "one": "from round_house import two\n",
        "two": "import round_house.one\n",
    }.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert list(circles("round_house")) == ["round_house"]


def test_no_module_is_longer_than_its_idea():
    lengths = {
        file.relative_to(ROOT).as_posix(): len(file.read_text("utf-8").splitlines())
        for file in (ROOT / "src").rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_the_tours_name_files_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    tours = text[text.index("## Five tours") : text.index("## Habits")]
    named = re.findall(r"`(src/[\w/]+\.py)`", tours)
    assert len(named) >= 10
    assert [name for name in named if not (ROOT / name).is_file()] == []
