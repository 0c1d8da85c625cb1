"""Pages in a real browser: WCAG by axe-core, nothing cut on wide and narrow screens nor on paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import needs_browser
from live_browser import Tab, open_browser
from tests.samples.evaluations import errors_of, evaluation
from tests.samples.runs import CONFORMANCE
from tests.samples.studies import figures_of

from spelling_transfer.evaluation.plotted import dose_curve
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.pages import evaluation_figures as figures
from spelling_transfer.pages.evaluation import render_evaluation_page
from spelling_transfer.pages.page import Card, Section, render_page
from spelling_transfer.pages.run_results import Results, RunRecord
from spelling_transfer.pages.run_summary import render_summary_page
from spelling_transfer.pages.study import render_tuning_page
from spelling_transfer.study.findings import StudyFindings

pytestmark = needs_browser

AXE = (resources.files("axe_core_python") / "axe.min.js").read_text("utf-8")
# A long table is as accessible as its first rows.
FOUND = """(() => {
  document.querySelectorAll("tbody tr:nth-child(n + 6)").forEach((row) => row.remove());
  return axe.run({ exclude: [[".plot svg"]] }, { runOnly: ["wcag2a", "wcag2aa", "wcag2aaa", "wcag21a", "wcag21aa"] })
    .then((found) => found.violations.map((each) => [each.id, each.nodes[0].html.slice(0, 200)]));
})()"""
DRAWN = (
    "document.readyState === 'complete' && "
    "[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('.main-svg'))"
)
# What sticks out of the window or, in print, of a region that no longer scrolls; and text that leaves its figure.
CUT = """(() => {
  const width = document.documentElement.clientWidth;
  const free = (element) => !element.closest(SCROLLS);
  const out = [...document.querySelectorAll("main *")]
    .filter((element) => free(element) && !element.closest(".plot"))
    .filter((element) => element.getBoundingClientRect().right > width + 1)
    .map((element) => element.outerHTML.slice(0, 120));
  for (const plot of document.querySelectorAll(".plot")) {
    const box = plot.getBoundingClientRect();
    for (const text of plot.querySelectorAll("svg text")) {
      const { left, right, top, bottom, width } = text.getBoundingClientRect();
      if (width && (left < box.left - 1 || right > box.right + 1 || top < box.top - 1 || bottom > box.bottom + 1))
        out.push(text.textContent);
    }
  }
  return out;
})()"""
SCROLLING = """[...document.querySelectorAll(".table, pre")]
  .filter((region) => region.scrollHeight > region.clientHeight + 1 || region.scrollWidth > region.clientWidth + 1)
  .map((region) => region.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, study_findings: Callable[..., StudyFindings]) -> dict[str, Path]:
    settings = EvaluationSettings(n_resamples=999)
    found = evaluation(settings)
    curves = pd.DataFrame(
        {"arm": ["spelling", "form_control"], "seed": 1, "step": 10, "spelling": 0.5, "position": 0.3, "count": 0.2}
    )
    drawn = {
        "scores": figures.plot_scores(found.scores),
        "arms": figures.plot_arms(found.effects),
        "strata": figures.plot_strata(found.effects),
        "dose": figures.plot_dose(dose_curve(curves, {"spelling": 0.3, "position": 0.3, "count": 0.3})),
        "errors": figures.plot_errors(errors_of(found)),
    }
    results = Results(
        comparison=found.comparison,
        control_comparison=found.control,
        verdict=dict(found.verdict),
        floors=found.floors,
        conformance=CONFORMANCE,
        pages={"evaluation_page": "evaluation/index.html"},
    )
    study = study_findings(3)
    texts = {
        "evaluation": render_evaluation_page(found, drawn, settings),
        "tuning": render_tuning_page(study, figures_of(study)),
        "run": render_summary_page(RunRecord("today", [], None), results),
    }
    folder = tmp_path_factory.mktemp("pages")
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, "utf-8")
    return {name: folder / f"{name}.html" for name in texts}


@pytest.fixture(scope="module")
def new_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Tab]]:
    with open_browser(tmp_path_factory.mktemp("browser")) as new:
        yield new


def shown(tab: Tab, page: Path, width: int, **media: Any) -> Tab:
    tab.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    tab.send("Emulation.setEmulatedMedia", **media)
    tab.open(page.as_uri())
    tab.wait_for(DRAWN)
    return tab


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["evaluation", "tuning", "run"])
def test_a_page_keeps_wcag(new_tab: Callable[[], Tab], pages: dict[str, Path], name: str, scheme: str) -> None:
    tab = shown(new_tab(), pages[name], 1400, features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.js(AXE)
    assert tab.js(FOUND) == []


def test_a_figure_that_is_called_an_image_is_found(new_tab: Callable[[], Tab], pages: dict[str, Path]) -> None:
    mutant = pages["evaluation"].with_name("mutant.html")
    mutant.write_text(pages["evaluation"].read_text("utf-8").replace('role="group"', 'role="img"'), "utf-8")
    tab = shown(new_tab(), mutant, 1400)
    tab.js(AXE)
    assert {rule for rule, _ in tab.js(FOUND)} == {"nested-interactive"}


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("name", ["evaluation", "tuning", "run"])
def test_nothing_is_cut(new_tab: Callable[[], Tab], pages: dict[str, Path], name: str, width: int) -> None:
    tab = shown(new_tab(), pages[name], width)
    assert tab.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert tab.js(CUT.replace("SCROLLS", "'.table, pre, .scrolls'")) == []


def test_panels_stand_one_above_the_other_on_a_narrow_screen(
    new_tab: Callable[[], Tab], pages: dict[str, Path]
) -> None:
    places = """[...document.querySelectorAll(".plot")].map(({ layout }) => new Set(
      Object.keys(layout).filter((key) => key.startsWith("xaxis")).map((key) => layout[key].domain?.[0] ?? 0)).size)"""
    wide, narrow = (shown(new_tab(), pages["evaluation"], width).js(places) for width in (1400, 390))
    assert max(wide) == 3
    assert set(narrow) == {1}


@pytest.mark.parametrize("name", ["evaluation", "tuning", "run"])
def test_print_opens_what_scrolls(new_tab: Callable[[], Tab], pages: dict[str, Path], name: str) -> None:
    tab = shown(new_tab(), pages[name], 1000)
    if name != "run":
        assert tab.js(SCROLLING)
    tab.send("Emulation.setEmulatedMedia", media="print")
    tab.js("dispatchEvent(new Event('beforeprint'))")
    tab.send("Emulation.setDeviceMetricsOverride", width=700, height=1000, deviceScaleFactor=1, mobile=False)  # A4
    assert tab.js(SCROLLING) == []
    assert tab.js(CUT.replace("SCROLLS", "'.scrolls'")) == []


def test_a_wide_dark_window_prints_whole_figures_in_ink(new_tab: Callable[[], Tab], pages: dict[str, Path]) -> None:
    tab = shown(new_tab(), pages["evaluation"], 1400, features=[{"name": "prefers-color-scheme", "value": "dark"}])
    drawn = """(() => {
      const ticks = [...document.querySelectorAll(".plot .xtick text")];
      const ink = new Set(ticks.map((text) => getComputedStyle(text).fill));
      const widths = [...document.querySelectorAll(".plot .main-svg")].map((svg) => svg.getBoundingClientRect().width);
      return [...ink, Math.max(...widths)]; })()"""
    before = tab.js(drawn)
    tab.js("dispatchEvent(new Event('beforeprint'))")
    assert tab.js(drawn) == ["rgb(28, 33, 39)", 640]
    assert tab.js(CUT.replace("SCROLLS", "'main'")) == []
    tab.js("dispatchEvent(new Event('afterprint'))")
    assert tab.js(drawn) == before == ["rgb(227, 231, 235)", before[-1]]
    assert before[-1] > 1200


def test_buttons_in_headings_are_no_boxes_in_print(new_tab: Callable[[], Tab], pages: dict[str, Path]) -> None:
    """Chromium repeats no heading that holds one on the next sheet."""
    tab = shown(new_tab(), pages["evaluation"], 1000, media="print")
    assert tab.js("getComputedStyle(document.querySelector('th button')).display") == "contents"


def test_a_long_title_breaks_five_cards_stand_as_three_and_two_and_arrows_are_not_read_out(
    new_tab: Callable[[], Tab], tmp_path: Path
) -> None:
    name = "my_longest_name_of_a_study_yet"
    cards = [Card(str(number), "1") for number in range(5)]
    page = tmp_path / "page.html"
    table = pd.DataFrame({"word": ["a"]})
    page.write_text(render_page(name, [Section(cards=cards, table=table)]), "utf-8")
    tab = shown(new_tab(), page, 320)
    assert tab.js("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    tab = shown(tab, page, 1000)
    assert tab.js("getComputedStyle(document.querySelector('.cards')).gridTemplateColumns.split(' ').length") == 3
    tree = tab.send("Accessibility.getFullAXTree")["nodes"]
    assert [node["name"]["value"] for node in tree if node["role"]["value"] == "columnheader"] == ["word"]
