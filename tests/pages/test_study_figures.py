from __future__ import annotations

import base64
import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from tests.samples.studies import figures_of

from spelling_transfer.pages.study_figures import pareto_front
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
    assert len(figures["curves"]["data"]) == 3 * found.curves["number"].nunique()
    marked = {trace["name"] for trace in figures["transfer"]["data"]}
    assert marked == {"position", "count"}
    lines = figures["parallel"]["data"][0]["dimensions"]
    assert [axis["label"] for axis in lines][-4:] == ["spelling", "position", "count", "transfer score"]
    assert len(lines) == len(found.settings) + 4
    best = next(trace for trace in figures["history"]["data"] if trace["name"] == "best so far")
    decoded = best["y"]["bdata"] if isinstance(best["y"], dict) else None
    values = np.frombuffer(base64.b64decode(decoded)) if decoded else np.array(best["y"])
    assert values[-1] == pytest.approx(found.finished["selection_score"].max())
    assert (np.diff(values) >= 0).all()
