from __future__ import annotations

import re
import shlex
from typing import Any

import click
import pandas as pd
import pytest
from kedro.framework.cli.project import run as kedro_run
from tests.samples.runs import COMPARISON
from tests.samples.verdicts import arm_answers, gains

from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.evaluation.verdict import decide
from spelling_transfer.pages.run_results import Results, RunRecord, command_of
from spelling_transfer.pages.run_summary import render_summary_page, summary_lines


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


@pytest.mark.parametrize(
    "typed",
    [
        "study.n_trials=3",
        "tracking.mode=disabled,study.seed=0",
        "evaluation.batch_size=null,trial.compile=true",
        "a=2e-5",
    ],
)
def test_the_command_that_repeats_a_run_gives_the_parameters_that_it_was_given(typed: str) -> None:
    option = next(each for each in kedro_run.params if each.name == "params")
    given = option.type_cast_value(click.Context(kedro_run), typed)
    given = option.callback(click.Context(kedro_run), option, given)
    words = shlex.split(command_of({"runtime_params": given}))
    again = option.callback(click.Context(kedro_run), option, words[-1].removeprefix("--params="))
    assert again == given


def test_the_page_of_a_run_has_its_command_and_what_each_pipeline_took() -> None:
    command = command_of(
        {"pipeline_names": ["tuning", "evaluation"], "env": "standard", "runtime_params": {"study": {"n_trials": 3}}}
    )
    assert command == "kedro run --pipelines=evaluation,tuning --env=standard --params=study.n_trials=3"
    assert command_of({"pipeline_names": None, "env": "local", "tags": []}) == "kedro run"
    record = RunRecord("today", ["tuning"], "local", command)
    for node, at in (("tuning.read", 0.0), ("tuning.train", 2.0), ("evaluation.answer", 7.0)):
        record._first[node], record._last[node] = at, at + 2
    page = render_summary_page(record, Results(comparison=COMPARISON))
    assert f"<code>{command}</code>" in page
    body = re.sub(r"<[^>]+>", " ", page.partition("<main")[2])
    rows = " ".join(body.split())
    assert "tuning all of it 4.00 tuning read 2.00 tuning train 2.00 evaluation all of it 2.00" in rows
    assert "time of this run" in rows
