"""Pages as a real browser shows them."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from browser import REPORT_ERRORS, dom_of, needs_browser
from tests.samples.studies import figures_of

from spelling_transfer.pages.page import Section, render_page
from spelling_transfer.pages.study import render_tuning_page
from spelling_transfer.pages.style import style_figure
from spelling_transfer.study.findings import StudyFindings

pytestmark = needs_browser

# Clicks twice on the heading of the second column (descending), and filters.
CLICKS = """
<script>
  addEventListener("load", () => {
    const button = document.querySelectorAll("th button")[1];
    button.click();
    button.click();
    const filter = document.querySelector(".filter input");
    filter.value = "keep";
    filter.dispatchEvent(new Event("input"));
  });
</script>
"""


def test_figures_are_drawn_and_tables_sort_and_filter(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "name": ["keep two", "keep none", "keep ten", *(f"other {i}" for i in range(12))],
            "n": [2, None, 10, *range(12)],
        }
    )
    bars = style_figure(go.Figure(go.Bar(x=["a"], y=[1])))
    coordinates = go.Figure(go.Parcoords(dimensions=[{"label": "x", "values": [1, 2]}]))
    sections = [
        Section("Driver", html=REPORT_ERRORS + CLICKS),
        Section("Bars", figure=bars),
        Section("Coordinates", figure=coordinates),  # drawn by compiled shaders, which the page's policy must allow
        Section("Table", table=frame),
    ]
    dom = dom_of(render_page("Test", sections), tmp_path)
    assert re.search(r'<p id="errors"></p>', dom)
    assert dom.count('class="main-svg"') >= 2
    assert 'aria-sort="descending"' in dom
    rows = re.findall(r"<tr( hidden=\"\")?><td data-key=\"([^\"]+)\"", dom)
    assert [name for hidden, name in rows if not hidden] == ["keep ten", "keep two", "keep none"]
    assert len(rows) == len(frame)


def test_every_figure_of_a_study_is_drawn_without_an_error(
    study_findings: Callable[..., StudyFindings], tmp_path: Path
) -> None:
    found = study_findings(12)
    page = render_tuning_page(found, figures_of(found))
    dom = dom_of(page.replace('<main id="content">', f'<main id="content">{REPORT_ERRORS}', 1), tmp_path)
    assert re.search(r'<p id="errors"></p>', dom)
    drawn = re.findall(r'<div class="plot[^"]*js-plotly-plot[^"]*" id="([^"]+)"', dom)
    assert len(drawn) == len(figures_of(found))
