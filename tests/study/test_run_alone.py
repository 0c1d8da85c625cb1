"""A study in one process, of trials that train nothing: which trials there are, and where each ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.interfaces import Evaluation, TrialOutcome, Verdict
from spelling_transfer.study.run import run_study


def objective(config: TrialConfig, monitor: Callable[[Evaluation], Verdict]) -> TrialOutcome:
    """Spelling rises with the rank and falls back after step 30; nothing is trained."""
    curve: list[Evaluation] = []
    verdict: Verdict = "complete"
    for step, share in ((10, 0.5), (20, 0.9), (30, 1.0), (40, 0.8), (50, 0.7)):
        curve.append(Evaluation(step, share * config.lora.r / 64, 0.2 + config.lora.r / 1000, 0.4))
        verdict = monitor(curve[-1])
        if verdict != "complete":
            break
    return TrialOutcome(curve, 1.0 / config.lora.r, curve[-1].step, verdict)


def study(**changes: Any) -> StudySettings:
    shared = {"n_trials": 4, "sampler": "random", "pruner": "median", "space": {"lora.r": {"values": [4, 8, 16, 32]}}}
    return StudySettings.model_validate({**shared, **changes})


def test_the_same_study_gives_the_same_trials() -> None:
    first, again = (run_study(study(), TrialConfig(), objective) for _ in range(2))
    pd.testing.assert_frame_equal(first.trials, again.trials)
    pd.testing.assert_frame_equal(first.curves, again.curves)
    assert first.trials["number"].tolist() == [0, 1, 2, 3]
    assert first.trials["seed"].tolist() == [0, 1, 2, 3]


def test_a_trial_is_scored_where_it_ends() -> None:
    trials = run_study(study(), TrialConfig(), objective).trials
    row = trials.iloc[0]
    assert row["spelling"] == pytest.approx(0.7 * row["lora.r"] / 64)
    position, count = 0.2 + row["lora.r"] / 1000, 0.4
    bonus = 0.2 * min(row["spelling"], (position + count) / 2)
    assert row["transfer_score"] == pytest.approx(0.5 * position + 0.5 * count + bonus)


def test_a_default_of_none_is_tried_beside_the_values() -> None:
    space = {"lora.target_modules": {"values": ["q_proj"]}, "training.logits_mb": {"low": 8, "high": 16, "step": 8}}
    trials = run_study(study(sampler="one_at_a_time", n_trials=None, space=space), TrialConfig(), objective).trials
    assert trials["lora.target_modules"].fillna("default").tolist() == ["default", "q_proj", "default", "default"]
    assert trials["training.logits_mb"].dropna().tolist() == [8, 16]


def test_patience_stops_a_trial_that_no_longer_gains() -> None:
    trials = run_study(study(patience=1, space={"lora.r": {"values": [4, 8]}}), TrialConfig(), objective).trials
    assert trials["state"].unique().tolist() == ["stopped"]
    assert trials["steps"].unique().tolist() == [40]


def test_hopeless_trials_are_pruned() -> None:
    result = run_study(study(n_trials=30, seed=3), TrialConfig(), objective)
    pruned = result.trials[result.trials["state"] == "pruned"]
    assert len(pruned) > 0
    assert pruned["steps"].max() < 50


def test_a_bad_space_is_refused_before_anything_is_trained() -> None:
    def never(config: TrialConfig, monitor: Callable[[Evaluation], Verdict]) -> TrialOutcome:
        raise AssertionError("trained")

    with pytest.raises(StudyConfigError, match="no such setting"):
        run_study(study(space={"lora.rank": {"values": [1]}}), TrialConfig(), never)
