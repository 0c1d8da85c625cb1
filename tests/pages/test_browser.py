"""The page as a real browser shows it, opened from a file without a network."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from spelling_transfer.pages.page import Section, render_page
from spelling_transfer.pages.style import style_figure

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium, which is not installed here")

# Clicks twice on the heading of the second column (descending), filters, and reports errors of the page.
DRIVER = """
<p id="errors"></p>
<script>
  addEventListener("error", (event) => { document.getElementById("errors").textContent += event.message; });
  addEventListener("securitypolicyviolation", (event) => {
    document.getElementById("errors").textContent += event.violatedDirective;
  });
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


def _after_loading(page: str, tmp_path: Path) -> str:
    file = tmp_path / "page.html"
    file.write_text(page, encoding="utf-8")
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


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
        Section("Driver", html=DRIVER),
        Section("Bars", figure=bars),
        Section("Coordinates", figure=coordinates),  # drawn by compiled shaders, which the page's policy must allow
        Section("Table", table=frame),
    ]
    dom = _after_loading(render_page("Test", sections), tmp_path)
    assert re.search(r'<p id="errors"></p>', dom)
    assert dom.count('class="main-svg"') >= 2
    assert 'aria-sort="descending"' in dom
    rows = re.findall(r"<tr( hidden=\"\")?><td data-key=\"([^\"]+)\"", dom)
    assert [name for hidden, name in rows if not hidden] == ["keep ten", "keep two", "keep none"]
    assert len(rows) == len(frame)
