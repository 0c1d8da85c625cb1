"""The study's page as a real browser shows it, opened from a file without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from spelling_transfer.pages.search_figures import plot_history, plot_importance, plot_parallel, plot_pareto
from spelling_transfer.pages.study import render_tuning_page
from spelling_transfer.pages.study_figures import (
    plot_learning_curves,
    plot_patterns,
    plot_transfer,
    plot_transfer_paths,
)
from spelling_transfer.study.executor import Evaluation
from spelling_transfer.study.results import StudyFindings

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium, which is not installed here")

# Reports errors of the page; before its own scripts, so that none is missed.
DRIVER = """<p id="errors"></p><script>
  const tell = (text) => { document.getElementById("errors").textContent += text; };
  addEventListener("error", (event) => tell(event.message));
  addEventListener("securitypolicyviolation", (event) => tell(event.violatedDirective));
</script>"""


def test_every_figure_is_drawn_without_an_error(study_findings: Callable[..., StudyFindings], tmp_path: Path) -> None:
    found = study_findings(12)
    start, best = Evaluation(0, **found.analysis["base"]), found.best["trial"]
    figures = {
        "curves": plot_learning_curves(found.curves, start, best),
        "transfer": plot_transfer(found.changes, best),
        "paths": plot_transfer_paths(found.curves, start, best),
        "patterns": plot_patterns(found.patterns),
        "pareto": plot_pareto(found.trials, found.analysis["base"], best),
        "importance": plot_importance(found.importance),
        "parallel": plot_parallel(found.trials, found.search_space),
        "history": plot_history(found.trials, found.seconds),
    }
    file = tmp_path / "page.html"
    page = render_tuning_page(found, figures).replace('<main id="content">', f'<main id="content">{DRIVER}', 1)
    file.write_text(page, encoding="utf-8")
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert re.search(r'<p id="errors"></p>', dom)
    drawn = re.findall(r'<div class="plot[^"]*js-plotly-plot[^"]*" id="([^"]+)"', dom)
    assert len(drawn) == len(figures)
