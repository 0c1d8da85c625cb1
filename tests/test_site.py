"""The site: built strictly, with a reference of everything there is, and nothing in it that comes from a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from browser import needs_browser
from live_browser import open_browser

ROOT = Path(__file__).parents[1]
_FROM_ELSEWHERE = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
PARTS = ("docs", "scripts", "src", "conf", "mkdocs.yml", "pyproject.toml", "README.md", "CONTRIBUTING.md",
         "CHANGELOG.md", "SECURITY.md", ".telemetry", ".kedro.yml")  # fmt: skip


# Not --quiet: it hides warnings from --strict, too.
def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    return subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material", reason="the site needs pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site") / "source"
    folder.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("local", "__pycache__"))
        else:
            shutil.copyfile(ROOT / name, folder / name)
    for name in ("data/01_raw/models/tiny-qwen3/README.md", "LICENSE"):  # what documents point to
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "build").mkdir()
    fonts = '<link rel="preconnect" href="https://fonts.gstatic.com" />'
    (folder / "build" / "index.html").write_text(f"<head>{fonts}</head><p>the graph</p>")
    (folder / "build" / "telemetry.html").write_text('<script src="https://cdn.example.org/heap.js"></script>')
    (folder / "build" / "api").mkdir()
    (folder / "build" / "api" / "main").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def site(source: Path) -> Path:
    done = build(source, source.parent / "site")
    assert done.returncode == 0, done.stdout + done.stderr
    return source.parent / "site"


def test_nothing_comes_from_another_place(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    found = {match[0] for page in pages for match in _FROM_ELSEWHERE.finditer(page.read_text("utf-8"))}
    assert found == set()
    styles = "".join(style.read_text("utf-8") for style in site.rglob("*.css"))
    assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", styles)
    assert _FROM_ELSEWHERE.search("<link rel=preconnect href='https://fonts.gstatic.com'>")


def test_the_reference_has_every_command_parameter_and_dataset(site: Path, project_pipelines: object) -> None:
    from spelling_transfer.cli import cli

    pages = {path.stem: path.read_text("utf-8") for path in (site / "reference").glob("*.html")}
    for name in cli.commands:
        assert f'id="kedro-{name}"' in pages["commands"]
    assert 'id="kedro-bundle-push"' in pages["commands"]
    assert "study.n_trials" not in pages["parameters"]  # its group is the heading
    assert re.search(r"<code>n_trials</code></td>\s*<td><code>2</code></td>\s*<td>integer, ≥ 1", pages["parameters"])
    assert "list of <code>few_shots</code>, <code>spell_first</code>" in pages["parameters"]
    empty = re.findall(r"<code>(\w[\w.]*)</code></td>(?:\s*<td>[^\n]*</td>){2}\s*<td></td>", pages["parameters"])
    assert empty == []
    assert "<th></th>" not in "".join(pages.values())
    names = project_pipelines["__default__"].datasets()  # type: ignore[index]
    missing = [
        each for each in names if not each.startswith("param") and f"<code>{each}</code>" not in pages["datasets"]
    ]
    assert missing == []
    assert "0.2·min(spelling, (position + count) / 2)" in pages["statistics"]


def test_the_search_finds_pages_of_the_root_and_of_the_reference(site: Path) -> None:
    found = {
        entry["location"].partition("#")[0]
        for entry in json.loads((site / "search/search_index.json").read_text())["docs"]
    }
    assert {"index.html", "contributing.html", "reference/parameters.html", "tutorial.html"} <= found


def test_the_rooms_are_drawn_without_a_program_from_elsewhere(site: Path) -> None:
    assert "flowchart TD" not in "".join(page.read_text("utf-8") for page in site.glob("*.html"))
    assert '<a href="graph/index.html">' in (site / "index.html").read_text("utf-8")
    page = (site / "design.html").read_text("utf-8")
    page = page.partition('class="house"')[2].partition("</svg>")[0]
    drawn = (ROOT / "docs/design.md").read_text("utf-8")
    assert page.count('<path d="M') == drawn.count(" --> ") > 20
    assert ">kedro_lightning</text>" in page


def test_the_graph_becomes_a_part_of_it(site: Path) -> None:
    assert (site / "graph" / "index.html").read_text() == "<head></head><p>the graph</p>"
    assert (site / "graph" / "api" / "main").read_text() == "{}"
    assert not (site / "graph" / "telemetry.html").exists()
    assert '<a href="../graph/index.html">' in (site / "reference" / "datasets.html").read_text("utf-8")


def test_links_that_lead_nowhere_stop_the_build(source: Path, tmp_path: Path) -> None:
    page = source / "docs" / "glossary.md"
    text = page.read_text("utf-8")
    page.write_text(f"{text}\n[one](gone.md) [two](#nowhere) [three](../missing.py)\n", "utf-8")
    try:
        done = build(source, tmp_path / "site")
    finally:
        page.write_text(text, "utf-8")
    assert done.returncode != 0
    assert all(f"'{link}'" in done.stdout + done.stderr for link in ("gone.md", "#nowhere", "../missing.py"))


@needs_browser
def test_links_are_told_by_more_than_colour_and_text_is_dark_enough(site: Path, tmp_path: Path) -> None:
    axe = (resources.files("axe_core_python") / "axe.min.js").read_text("utf-8")
    found = """axe.run({ runOnly: ["color-contrast", "link-in-text-block"] })
      .then((found) => found.violations.map((each) => [each.id, each.nodes[0].html.slice(0, 200)]))"""
    with open_browser(tmp_path) as new_tab:
        for scheme, named in (("light", "default"), ("dark", "slate")):
            for name in ("index", "tutorial", "api"):
                tab = new_tab()
                tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                tab.before_each_page("localStorage.clear()")  # the first page's scheme is kept for all
                tab.open((site / f"{name}.html").as_uri())
                tab.wait_for(f"document.readyState === 'complete' && document.body.dataset.mdColorScheme === {named!r}")
                tab.js(axe)
                assert tab.js(found) == [], (name, scheme)
