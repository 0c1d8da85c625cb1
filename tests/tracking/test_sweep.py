"""A study whose trials a sweep chooses: the search space as W&B knows it, and an agent on the executor."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.interfaces import Evaluation, Monitor, StudyError, TrialOutcome, Verdict
from spelling_transfer.study.space import SearchSpace, read_space
from spelling_transfer.tracking import sweep
from spelling_transfer.tracking.runs import TrackingError, TrackingSettings, require_target, stop_process
from spelling_transfer.tracking.study import run_tracked_study
from spelling_transfer.tracking.sweep import SweepAgent, proposal_of, sweep_config
from spelling_transfer.tracking.watch import read_study, sync_study

from .fake_wandb import FakeWandb

pytestmark = pytest.mark.usefixtures("nobody")
SPACE: dict[str, Any] = {
    "lora.r": {"values": [8, 16, 32]},
    "lora.alpha": {"follows": "lora.r", "ratios": [1, 2]},
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "lora.dropout": {"low": 0.0, "high": 0.2},
    "training.max_steps": {"low": 10, "high": 50, "step": 10},
    "training.weight_decay": {"low": 0.0, "high": 0.1, "step": 0.05},
}


def settings(**changes: Any) -> StudySettings:
    shared = {"name": "swept", "n_trials": 3, "sampler": "random", "pruner": "none", "space": SPACE, "sweep": True}
    return StudySettings.model_validate({**shared, **changes})


def space(data: dict[str, Any] | None = None) -> SearchSpace:
    return read_space(SPACE if data is None else data, TrialConfig())


class Objective:
    """Spelling rises with the rank; nothing is trained."""

    def __init__(self) -> None:
        self.seen: list[TrialConfig] = []

    def evaluate(self, step: int) -> Evaluation:
        return Evaluation(step, 0.1, 0.1, 0.1)

    def __call__(self, config: TrialConfig, monitor: Monitor) -> TrialOutcome:
        self.seen.append(config)
        curve, verdict = [], "complete"
        for step in (10, 20):
            monitor.progress(step)
            monitor.metrics({"step": step, "train/loss": 1 / step})
            curve.append(Evaluation(step, config.lora.r / 64 * step / 20, 0.2, 0.3))
            verdict: Verdict = monitor(curve[-1])
        return TrialOutcome(curve, 0.05, 20, verdict)


def job(run: str, **changes: Any) -> dict[str, Any]:
    chosen = {
        "lora.r": 16,
        "lora.alpha / lora.r": 2,
        "training.learning_rate": 0.001,
        "lora.dropout": 0.1,
        "training.max_steps": 20,
        "training.weight_decay": 0.05,
        **changes,
    }
    args = {name: {"value": value} for name, value in chosen.items()}
    return {"type": "run", "run_id": run, "args": {"wandb_version": {"value": 1}, **args}}


def test_the_sweep_has_the_same_settings_ends_and_goal() -> None:
    made = sweep_config(settings(sampler="tpe", n_trials=7), space())
    assert (made["method"], made["run_cap"], made["name"]) == ("bayes", 7, "swept")
    assert made["metric"] == {"name": "selection/score", "goal": "maximize"}
    assert made["parameters"] == {
        "lora.r": {"values": [8, 16, 32]},
        "lora.alpha / lora.r": {"values": [1.0, 2.0]},
        "training.learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "lora.dropout": {"distribution": "uniform", "min": 0.0, "max": 0.2},
        "training.max_steps": {"values": [10, 20, 30, 40, 50]},
        "training.weight_decay": {"values": [0.0, 0.05, 0.1]},
    }
    assert json.dumps(made)


def test_a_grid_lists_every_value_and_counts_them() -> None:
    made = sweep_config(
        settings(sampler="grid", n_trials=None),
        space({"lora.r": SPACE["lora.r"], "lora.dropout": SPACE["lora.dropout"]}),
    )
    assert (made["method"], made["run_cap"]) == ("grid", 12)
    assert all(list(parameter) == ["values"] for parameter in made["parameters"].values())


@pytest.mark.parametrize("sampler", ["cmaes", "qmc", "one_at_a_time"])
def test_what_sweeps_do_not_know_is_refused(sampler: str) -> None:
    with pytest.raises(StudyConfigError, match=f"study.sampler: {sampler}.*grid, random, tpe, gp"):
        sweep_config(settings(sampler=sampler), space())


def test_what_the_server_chose_becomes_a_configuration() -> None:
    chosen = {name: given["value"] for name, given in job("x")["args"].items() if name != "wandb_version"}
    choices = proposal_of(space(), {**chosen, "training.max_steps": 20.0, "lora.dropout": 0.2000001}).choices
    assert choices["lora.alpha"] == 32
    assert choices["training.max_steps"] == 20
    assert choices["lora.dropout"] == 0.2
    assert TrialConfig().varied(dict(choices)).lora.alpha == 32


def test_a_choice_that_breaks_a_constraint_is_moved() -> None:
    data = {"lora.r": {"values": [8, 16, 32]}, "constraints": [{"product": ["lora.r"], "at_most": 16}]}
    assert proposal_of(space(data), {"lora.r": 32}).choices["lora.r"] == 16


def test_a_sweep_of_another_space_is_refused() -> None:
    with pytest.raises(StudyConfigError, match="another name"):
        proposal_of(space(), {"lora.r": 8})


def test_the_trials_of_a_sweep_run_on_the_executor_and_are_its_runs(tmp_path: Path, server: FakeWandb) -> None:
    server.jobs = [job("run-a"), job("run-b", **{"lora.r": 32, "lora.alpha / lora.r": 1}), job("run-c")]
    objective = Objective()
    result = run_tracked_study(settings(), TrialConfig(), objective, TrackingSettings(mode="offline"), folder=tmp_path)
    assert result.trials["lora.r"].tolist() == [16, 32, 16]
    assert result.trials["lora.alpha"].tolist() == [32, 32, 32]
    assert [config.training.seed for config in objective.seen] == [0, 1, 2]
    (made,) = server.sweeps.values()
    assert made["projectName"] == "llm-spelling-transfer-learning"
    assert json.loads(made["config"])["parameters"]["lora.r"] == {"values": [8, 16, 32]}
    runs = {name: run for name, run in server.runs.items() if run.job_type == "trial"}
    assert set(runs) == {"run-a", "run-b", "run-c"}
    assert {run.sweep for run in runs.values()} == {"sweep0"}
    assert [row["_step"] for row in runs["run-b"].history] == [10, 20]
    assert runs["run-b"].summary["transfer/score"] == pytest.approx(result.trials["transfer_score"][1])
    # The runs are those of the study, so there is nothing to synchronise, and nothing left to try.
    whole = read_study("swept", tmp_path, {"place": "s3://bucket/place", "n_trials": 5})
    with pytest.raises(StudyConfigError, match="holds the study 'swept'; give the folder that name again"):
        read_study("renamed", tmp_path)
    assert (whole.settings["place"], whole.n_trials) == ("s3://bucket/place", 5)
    assert sync_study(whole, TrackingSettings(), tmp_path).sent == []
    again = run_tracked_study(settings(), TrialConfig(), objective, TrackingSettings(), folder=tmp_path)
    assert len(again.trials) == len(objective.seen) == 3


def test_a_sweep_that_the_server_ends_early_leaves_what_there_is_and_goes_on_later(
    tmp_path: Path, server: FakeWandb
) -> None:
    with pytest.raises(StudyError, match="'swept' has no trial: its sweep at Weights & Biases gave none"):
        run_tracked_study(settings(), TrialConfig(), Objective(), TrackingSettings(), folder=tmp_path)
    server.jobs = [job("run-a")]
    first = run_tracked_study(settings(), TrialConfig(), Objective(), TrackingSettings(), folder=tmp_path)
    assert first.trials["number"].tolist() == [0]
    server.jobs = [job("run-b"), job("run-c", **{"lora.r": 8})]
    second = run_tracked_study(settings(), TrialConfig(), Objective(), TrackingSettings(), folder=tmp_path)
    assert second.trials["lora.r"].tolist() == [16, 16, 8]
    assert len(server.sweeps) == 1


def test_an_agent_asks_again_after_wandbs_process_was_stopped(tmp_path: Path, server: FakeWandb) -> None:
    agent = SweepAgent(require_target(TrackingSettings(), tmp_path))
    agent.register(agent.create(sweep_config(settings(), space())))
    stop_process()
    server.jobs = [job("run-a")]
    found = agent.next(threading.Event())
    agent.close()
    assert found is not None
    assert (found.run_id, found.chosen["lora.r"]) == ("run-a", 16)


def test_an_agent_does_not_wait_for_a_server_that_fell_silent(
    tmp_path: Path, server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "NETWORK_SECONDS", 1)
    agent = SweepAgent(require_target(TrackingSettings(), tmp_path))
    agent.register(agent.create(sweep_config(settings(), space())))
    server.silent.set()
    began = time.monotonic()
    with pytest.raises(TrackingError, match="the sweep cannot be reached"):
        agent.next(threading.Event())
    agent.close()
    assert time.monotonic() - began < 120  # three tries, each of which may also start wandb's process anew


def test_without_a_key_nothing_is_trained(tmp_path: Path) -> None:
    objective = Objective()
    with pytest.raises(TrackingError, match="wandb login"):
        run_tracked_study(settings(), TrialConfig(), objective, TrackingSettings(), folder=tmp_path)
    assert objective.seen == []


def test_several_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyConfigError, match=r"study\.workers: 2"):
        run_tracked_study(settings(workers=2), TrialConfig(), Objective(), TrackingSettings(), folder=tmp_path)
