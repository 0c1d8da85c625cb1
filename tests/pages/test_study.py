from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from plotly.graph_objects import Figure

from spelling_transfer.pages.search_figures import (
    pareto_front,
    plot_history,
    plot_importance,
    plot_parallel,
    plot_pareto,
)
from spelling_transfer.pages.study import render_tuning_page
from spelling_transfer.pages.study_document import write_findings
from spelling_transfer.pages.study_figures import (
    plot_learning_curves,
    plot_patterns,
    plot_transfer,
    plot_transfer_paths,
)
from spelling_transfer.study.config import TrialConfig
from spelling_transfer.study.executor import Evaluation
from spelling_transfer.study.results import StudyFindings

MakeFindings = Callable[..., StudyFindings]


def figures_of(found: StudyFindings) -> dict[str, Figure]:
    base, best = found.analysis["base"], found.best["trial"]
    start = Evaluation(0, **base)
    return {
        "curves": plot_learning_curves(found.curves, start, best),
        "transfer": plot_transfer(found.changes, best),
        "paths": plot_transfer_paths(found.curves, start, best),
        "patterns": plot_patterns(found.patterns),
        "pareto": plot_pareto(found.trials, base, best),
        "importance": plot_importance(found.importance),
        "parallel": plot_parallel(found.trials, found.search_space),
        "history": plot_history(found.trials, found.seconds),
    }


def page_of(found: StudyFindings) -> str:
    return render_tuning_page(found, figures_of(found))


def text_of(page: str) -> str:
    body = re.sub(r"<script.*?</script>|<style.*?</style>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).replace("&#39;", "'").split())


@pytest.mark.parametrize("n", [1, 3, 12])
def test_a_study_of_any_size_has_a_page_that_needs_no_network(study_findings: MakeFindings, n: int) -> None:
    page = page_of(study_findings(n))
    assert page.count("Plotly.react(") >= 1
    assert not re.search(r"""<(script|link|img|iframe)\b[^>]*\b(src|href)=["']?https?:""", page)
    shown = text_of(page)
    for heading in ("What was found", "Does spelling carry over?", "Learning curves", "Which settings matter",
                    "Time and cost", "Trials", "Full configuration", "Environment and seeds"):  # fmt: skip
        assert heading in shown
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", shown)


def test_the_page_says_how_the_winner_did_with_new_seeds_and_against_its_control(study_findings: MakeFindings) -> None:
    found = study_findings(3)
    shown = text_of(page_of(found))
    assert f"scores {found.confirmation['mean']:.3f}" in shown
    assert "One seed cannot show how far seeds differ" in shown
    assert "as the best of 3, which is biased upwards" in shown
    assert "Against the control arm" in shown
    assert "no claim of transfer" in shown
    three = text_of(page_of(study_findings(3, seeds=3)))
    assert "over seeds, 95%" in three
    assert "cannot show how far seeds differ" not in three
    assert "There is no control arm" in text_of(page_of(study_findings(3, with_control=False)))


@pytest.mark.parametrize(
    ("against_control", "against_base", "said"),
    [
        ([0.02, 0.1], [0.01, 0.09], "position did better than form alone explains"),
        ([0.02, 0.1], [-0.01, 0.09], "But position is not surely above the base model, so no transfer is claimed"),
        ([-0.02, 0.1], [0.01, 0.09], "So no transfer is claimed"),
    ],
)
def test_transfer_is_spoken_of_only_above_the_control_arm_and_the_base_model(
    study_findings: MakeFindings, against_control: list[float], against_base: list[float], said: str
) -> None:
    found = study_findings(3)
    row = {"control": 0.2, "difference": 0.06, "interval": against_control, "excludes_zero": against_control[0] > 0}
    other = {"control": 0.2, "difference": 0.0, "interval": [-0.1, 0.1], "excludes_zero": False}
    measures = {"spelling": row, "position": row, "count": other, "transfer_score": row}
    confirmation = {
        **found.confirmation,
        "control": [{"measure": name, **values} for name, values in measures.items()],
        "task_gains": {"spelling": [0.1, 0.2], "position": against_base, "count": [-0.1, 0.1]},
    }
    changed = replace(found, best={**found.best, "confirmation": confirmation})
    for words in (text_of(page_of(changed)), write_findings(changed)):
        assert said in words
        assert ("did better than form alone explains" in words) == ("did better" in said)


def test_downloads_hold_the_tables(study_findings: MakeFindings) -> None:
    found = study_findings(3)
    files = dict(re.findall(r'download="([^"]+)" href="data:[^,]+,([^"]+)"', page_of(found)))
    trials = pd.read_csv(io.BytesIO(base64.b64decode(files["trials.csv"])))
    assert trials["transfer_score"].tolist() == pytest.approx(found.trials["transfer_score"].tolist())
    assert "seconds" in trials
    config = yaml.safe_load(base64.b64decode(files["best_config.yml"]))
    assert TrialConfig.model_validate(config).training.seed == found.confirmation["kept_seed"]
    assert set(files) == {"trials.csv", "learning_curves.csv", "transfer_by_trial.csv", "training_patterns.csv",
                          "parameter_importance.csv", "best_config.yml"}  # fmt: skip


def test_the_same_study_gives_the_same_page_and_document(study_findings: MakeFindings) -> None:
    found = study_findings(12)
    assert page_of(found) == page_of(found)
    assert write_findings(found) == write_findings(found)


def test_the_document_holds_the_numbers_and_valid_tables(study_findings: MakeFindings) -> None:
    found = study_findings(12, seeds=3)
    text = write_findings(found)
    assert f"{found.confirmation['mean']:.3f}" in text
    for table in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        widths = {line.count("|") for line in table.strip().splitlines()}
        assert len(widths) == 1, table
    assert not re.search(r"\bnan\b|\bNone\b", text)
    config = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)[0])
    assert TrialConfig.model_validate(config)


def test_the_pareto_front_holds_what_nothing_beats() -> None:
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


def test_figures_draw_what_the_tables_say(study_findings: MakeFindings) -> None:
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
    assert values[-1] == pytest.approx(found.finished["transfer_score"].max())
    assert (np.diff(values) >= 0).all()
