from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from kedro.framework.cli.utils import _split_params
from plotly.graph_objects import Figure
from tests.samples.runs import COMPARISON
from tests.samples.verdicts import arm_answers, gains

from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.evaluation.verdict import decide
from spelling_transfer.pages.run_results import Results, RunRecord, SummaryFigure, command_of
from spelling_transfer.pages.run_summary import render_summary_page, summary_document, summary_lines


def _row(task: str, difference: float, low: float, high: float) -> dict[str, Any]:
    verdict = "up" if low > 0 else "down" if high < 0 else "unclear"
    return {
        "measure": "exact_match", "task": task, "group": "all", "value": "all", "reference_score": 0.3,
        "arm_score": 0.3 + difference, "difference": difference, "low": low, "high": high, "verdict": verdict,
    }  # fmt: skip


BASE = pd.DataFrame([_row("spelling", 0.3, 0.2, 0.4), _row("position", 0.1, 0.05, 0.15), _row("count", 0.0, -0.1, 0.1)])


@pytest.mark.parametrize(
    ("transfer", "expected"), [(0.12, "Yes, spelling carried over to position"), (0.0, "No, spelling carried over")]
)
def test_the_last_line_is_the_verdict(transfer: float, expected: str) -> None:
    verdict = decide(arm_answers(gains(transfer=transfer), families=1_000), VerdictSettings()).document()
    lines = {line.label: line.text for line in summary_lines(Results(comparison=BASE, verdict=verdict))}
    assert lines["transfer"].startswith(expected)
    without = summary_lines(Results(comparison=BASE))
    assert "no verdict yet" in without[-1].text


def test_a_script_reads_the_findings_of_the_page() -> None:
    other = {**_row("reverse", 0.0, -0.1, 0.1), "arm_low": 0.2, "arm_high": 0.4}
    comparison = pd.concat([BASE, pd.DataFrame([other])]).assign(n=60)
    floors = pd.DataFrame({"task": ["reverse"], "answerer": ["commonest"], "score": [0.5]})
    found = summary_document(RunRecord("now", [], None), Results(comparison=comparison, floors=floors))["findings"]
    assert found[-1] == (
        "Of the other tasks, reverse shows no clear change; the spelling arm cannot do reverse, where it is not above "
        "its floor."
    )


TYPED = [
    "study.n_trials=3",
    "study.n_trials=3,study.seed=1,tracking.mode=disabled",
    "trial.training.learning_rate=1e-05,study.time_limit=null,evaluation.ask_again=true",
    "evaluation.seed=3,study.name=a b,study.tags={},study.note='3',study.place=$HOME/x:y",
]


@pytest.mark.parametrize("typed", TYPED)
def test_the_command_of_a_run_is_read_as_the_same_settings(typed: str) -> None:
    params = _split_params(None, None, typed)
    command = command_of({"runtime_params": params})
    _, _, option = shlex.split(command)
    again = _split_params(None, None, option.removeprefix("--params="))
    assert again == params
    assert [type(value) for value in again.values()] == [type(value) for value in params.values()]


@pytest.mark.parametrize("value", [[1, 2], "a,b", {"a.b": 1}])
def test_a_setting_that_no_command_line_can_say_leaves_no_command(value: Any) -> None:
    assert command_of({"runtime_params": {"study": {"value": value}}}) == ""


def test_the_command_of_a_run_names_whatever_chose_its_nodes() -> None:
    chosen = {"from_inputs": ["scores"], "to_outputs": ["verdict"], "namespaces": ["evaluation"]}
    command = command_of({**chosen, "only_missing_outputs": True})
    assert command == (
        "kedro run --from-inputs=scores --to-outputs=verdict --namespaces=evaluation --only-missing-outputs"
    )


def test_the_page_of_a_run_has_its_command_and_what_each_pipeline_took() -> None:
    params = {"study": {"n_trials": 3}}
    command = command_of({"pipeline_names": ["tuning", "evaluation"], "env": "standard", "runtime_params": params})
    assert command == "kedro run --pipelines=evaluation,tuning --env=standard --params=study.n_trials=3"
    assert command_of({"pipeline_names": None, "env": "local", "tags": []}) == "kedro run"
    record = RunRecord("today", ["tuning"], "local", command)
    for node, at in (("tuning.read", 0.0), ("tuning.train", 2.0), ("evaluation.answer", 7.0)):
        record._first[node], record._last[node] = at, at + 2
    figures = (SummaryFigure("scores_plot", "Scores", "With {level} intervals.", Figure()),)
    results = Results(comparison=COMPARISON, figures=figures, parameters={"evaluation": {"confidence": 0.9}})
    page = render_summary_page(record, results)
    assert "<figcaption>With 90% intervals." in page
    assert f"<code>{command}</code>" in page
    body = re.sub(r"<[^>]+>", " ", page.partition("<main")[2])
    rows = " ".join(body.split())
    assert "tuning all of it 4.00 tuning read 2.00 tuning train 2.00 evaluation all of it 2.00" in rows
    assert "time of this run" in rows


def test_kinds_of_questions_of_an_earlier_verdict_are_not_shown_with_a_new_one() -> None:
    verdict = decide(arm_answers(gains(transfer=0.12)), VerdictSettings()).document()
    fixed: dict[str, Any] = {"endpoint": "held_out", "arm": "spelling", "reference": "form_control"}
    fixed |= {"task": "position", "stratum": "direction", "low": -0.1, "high": 0.3}
    effects = pd.DataFrame(
        [
            {**fixed, "value": value, "difference": found, "clear": clear}
            for value, found, clear in (("forward", 0.2, "up"), ("backward", 0.0, "unclear"))
        ]
    )
    results = Results(comparison=COMPARISON, verdict=verdict, arm_effects=effects)
    record = RunRecord("today", ["evaluation"], "local", "kedro run")
    for old, is_shown in (
        ([], True),
        (["arm_effects"], False),
        (["arm_effects", "verdict"], True),
    ):
        page = render_summary_page(record, replace(results, old=dict.fromkeys(old, "scores changed")))
        assert ("by kind of question" in page) == is_shown
