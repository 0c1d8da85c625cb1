"""How long jobs will take: past runs, the settings, the project's estimate, a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.kedro_lightning.conftest import ENTRY

from kedro_lightning import NodeTime
from kedro_lightning.config import parse_config
from kedro_lightning.costs import Ledger
from kedro_lightning.errors import SettingsError
from kedro_lightning.jobs.work import Entry
from kedro_lightning.node_jobs import NodeJob
from kedro_lightning.platform.machines import Machine
from kedro_lightning.times import GUESS_MINUTES, JobTimes

L4 = Machine("L4", "lit-l4-1", "L4", 1, 24.0, 0.48)
PROJECT = """
from kedro_lightning import NodeTime

def estimate(node, machine, parameters):
    if node == "train":
        return NodeTime(60.0 * parameters["n"], "scaled", f"From {machine.family}.")
    if node == "broken":
        return NodeTime(1 / 0)
    return NodeTime(None, note="no figure of this machine.") if node == "export" else None
"""


@pytest.fixture
def times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "toy_estimates.py").write_text(PROJECT)
    monkeypatch.syspath_prepend(tmp_path)

    def make(parameters: Mapping[str, Any] | None = None, past: Entry | None = None, **content: Any) -> JobTimes:
        ledger = Ledger(tmp_path / "ledger.csv")
        if past is not None:
            ledger.record("earlier", past)
        content = {"estimates": "toy_estimates:estimate", **content}
        return JobTimes(parse_config(content), ledger, {"parameters": parameters or {"n": 3}})  # type: ignore[arg-type]

    return make


def job(*nodes: str) -> NodeJob:
    return NodeJob(nodes[0], "l4", "training", nodes)


def test_the_project_says_how_long_a_node_takes_with_these_parameters(times) -> None:
    found = times({"n": 5}).of(job("train"), L4)
    assert (found.minutes, found.basis, found.notes) == (5.0, "scaled", ("From L4.",))


def test_a_figure_in_the_settings_comes_before_it_and_past_runs_before_both(times) -> None:
    given = {"nodes": {"train": {"minutes": 7}}}
    found = times(**given).of(job("train"), L4)
    assert (found.minutes, found.basis) == (7.0, "compute.yml")
    found = times(past=replace(ENTRY, machine="L4"), **given).of(job("train"), L4)
    assert (found.minutes, found.basis) == (30.0, "past runs")


def test_what_nobody_knows_is_a_guess_that_says_how_to_give_a_figure(times) -> None:
    found = times().of(job("export"), L4)
    assert (found.minutes, found.basis) == (GUESS_MINUTES, "guess")
    assert found.notes == (
        "A guess: export: no figure of this machine. To give a figure, set nodes.export.minutes in compute.yml.",
    )
    assert times(estimates=None).of(job("train"), L4).basis == "guess"


def test_a_group_takes_as_long_as_its_nodes(times) -> None:
    found = times().of(job("train", "other", "train"), L4)
    assert (found.minutes, found.basis) == (3 + GUESS_MINUTES + 3, "scaled+guess")
    assert len(found.notes) == 2


@pytest.mark.parametrize(
    ("name", "node", "part"),
    [
        ("toy_estimates:estimate", "broken", "toy_estimates:estimate failed for broken: ZeroDivisionError"),
        ("toy_estimates:nothing", "train", "'toy_estimates:nothing' cannot be imported"),
        ("no_such_module:estimate", "train", "cannot be imported: No module named 'no_such_module'"),
    ],
)
def test_an_estimate_that_fails_is_one_message(times, name: str, node: str, part: str) -> None:
    with pytest.raises(SettingsError, match="compute: estimates: ") as caught:
        times(estimates=name).of(job(node), L4)
    assert part in str(caught.value)


def test_a_name_without_a_function_is_refused() -> None:
    with pytest.raises(SettingsError, match="estimates: 'toy_estimates'"):
        parse_config({"estimates": "toy_estimates"})
    assert NodeTime(None).basis == ""
