from __future__ import annotations

import base64
import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from tests.samples.studies import figures_of

from spelling_transfer.pages.numbers import format_value, percent
from spelling_transfer.pages.study_figures import pareto_front, plot_parallel
from spelling_transfer.study.findings import StudyFindings


def test_the_pareto_front_holds_what_nothing_exceeds() -> None:
    trials = pd.DataFrame(
        {
            "number": [0, 1, 2, 3, 4],
            "state": ["complete", "complete", "stopped", "complete", "pruned"],
            "spelling": [0.9, 0.5, 0.7, 0.6, 1.0],
            "position": [0.1, 0.5, 0.3, 0.2, 1.0],
            "count": [0.1, 0.5, 0.3, 0.2, 1.0],
        }
    )
    assert pareto_front(trials)["number"].tolist() == [1, 2, 0]
    assert pareto_front(trials.iloc[4:]).empty


def test_figures_draw_what_the_tables_say(study_findings: Callable[..., StudyFindings]) -> None:
    found = study_findings(12)
    figures = {name: json.loads(figure.to_json()) for name, figure in figures_of(found).items()}
    others, best = figures_of(found)["paths"].data[:2]  # all other trials in one trace, a gap between two of them
    assert np.isnan(others.x).sum() == found.curves["number"].nunique() - 1
    assert others.x[0] == best.x[0] == found.analysis["base"]["spelling"]
    assert set(best.customdata[:, 0]) == {found.best["trial"]}
    assert len(figures["curves"]["data"]) == 3 * 2
    marked = {trace["name"] for trace in figures["transfer"]["data"]}
    assert marked == {"position", "count"}
    lines = figures["parallel"]["data"][0]["dimensions"]
    assert [axis["label"] for axis in lines][-4:] == ["spelling", "position", "count", "transfer score"]
    assert len(lines) == len(found.settings) + 4
    best_so_far = next(trace for trace in figures["history"]["data"] if trace["name"] == "best so far")
    decoded = best_so_far["y"]["bdata"] if isinstance(best_so_far["y"], dict) else None
    values = np.frombuffer(base64.b64decode(decoded)) if decoded else np.array(best_so_far["y"])
    assert values[-1] == pytest.approx(found.finished["selection_score"].max())
    assert (np.diff(values) >= 0).all()
    assert len(figures["patterns"]["layout"]["shapes"]) == 2  # no gain, a line in each panel


def test_scores_stand_on_an_axis_as_in_the_table_of_trials(study_findings: Callable[..., StudyFindings]) -> None:
    found = study_findings(1)
    *settings, spelling, _, _, score = plot_parallel(found.trials, found.search_space).data[0].dimensions
    assert settings[-1].ticktext == (format_value(bool(found.trials[found.settings[-1]][0])),)
    # One trial has one score: no other is marked on its axis.
    assert spelling.ticktext == (percent(found.trials["spelling"][0]),)
    assert score.ticktext == (percent(found.trials["transfer_score"][0]),)
