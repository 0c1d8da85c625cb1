from __future__ import annotations

from typing import Any

import pytest

from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.study.arms import ArmSettings
from spelling_transfer.study.config import LightningSettings, StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.estimates import (
    Measured,
    adapter_weights,
    check_memory,
    estimate_study,
    memory_gib,
    planned_configs,
    study_seconds,
)
from spelling_transfer.study.space import SearchSpace, read_space
from spelling_transfer.study.speeds import find_speed

QWEN3_4B = {
    "name": "Qwen3-4B",
    "vocabulary_rows": 151_936,
    "hidden_size": 2560,
    "layers": 36,
    "attention_heads": 32,
    "key_value_heads": 8,
    "head_size": 128,
    "feed_forward_size": 9728,
}
PROFILE = ModelProfile.model_validate({"name": "Qwen3-4B", "shape": QWEN3_4B})
SHAPELESS = ModelProfile(name="unknown")


def study(**changes: Any) -> StudySettings:
    return StudySettings.model_validate({"space": {}, "sampler": "random", "n_trials": 10, **changes})


def space(entries: dict[str, Any]) -> SearchSpace:
    return read_space(entries, TrialConfig())


STEPS = {"training.max_steps": {"values": [100, 300]}}


def test_steps_are_counted_trial_by_trial() -> None:
    grid = estimate_study(space(STEPS), study(sampler="grid", n_trials=None), PROFILE)
    assert (grid.trials, grid.configurations, grid.steps) == (2, 2, 400)
    assert grid.examples == 400 * 8 * 4
    assert grid.evaluations == 2 + 6  # every 50 steps
    one = estimate_study(space(STEPS), study(sampler="one_at_a_time", n_trials=None), PROFILE)
    assert (one.trials, one.steps) == (3, 1400)  # the default has 1,000


def test_a_sampler_that_learns_is_estimated_by_random_draws() -> None:
    learns, random = (estimate_study(space(STEPS), study(sampler=each), PROFILE) for each in ("tpe", "random"))
    assert learns.steps == random.steps
    assert 10 * 100 <= learns.steps <= 10 * 300


def test_time_comes_from_the_speed_of_the_card() -> None:
    tier = LightningSettings(gpu_tier="a100", price_usd_per_hour=3.0)
    settings = study(lightning=tier)
    found = estimate_study(space(STEPS), settings, PROFILE)
    assert PROFILE.shape is not None
    speed = find_speed("A100", PROFILE.shape)
    assert found.hours == pytest.approx(study_seconds(planned_configs(space(STEPS), settings), settings, speed) / 3600)
    assert found.cost_usd == pytest.approx(3.0 * found.hours)
    assert found.basis == speed.note
    assert "scaled, not measured" in found.basis
    scored_once = estimate_study(space(STEPS), study(lightning=tier, transfer_eval_frequency=10**6), PROFILE)
    assert (scored_once.hours or 0) < (found.hours or 0)


def test_workers_share_the_time_and_not_the_cost() -> None:
    alone, four = (estimate_study(space(STEPS), study(), PROFILE, workers=workers) for workers in (1, 4))
    assert alone.hours == four.hours
    assert four.hours_with_workers == pytest.approx((alone.hours or 0) / 4)
    assert alone.cost_usd == four.cost_usd
    single = estimate_study(space(STEPS), study(n_trials=1), PROFILE, workers=4)
    assert single.hours_with_workers == single.hours


def test_what_was_measured_replaces_what_was_computed() -> None:
    found = estimate_study(space(STEPS), study(), SHAPELESS, measured=Measured(0.01, 5))
    assert found.hours == pytest.approx(0.01 * found.examples / 3600)
    assert found.basis == "measured on 5 trials here"


def test_the_arms_take_as_long_as_trials_do_on_average() -> None:
    arms = ArmSettings(trained=("spelling", "form_control"), seeds=3)
    grid = study(sampler="grid", n_trials=None, transfer_eval_frequency=100)
    found = estimate_study(space(STEPS), grid, SHAPELESS, arms=arms, measured=Measured(0.01, 5))
    assert found.arm_trainings == 6
    hours, arm_hours = found.hours or 0, found.arm_hours or 0
    assert arm_hours == pytest.approx(6 * hours / 2)
    assert found.cost_usd == pytest.approx((hours + arm_hours) * grid.lightning.price_usd_per_hour)
    # Computed, trial and arm differ by the imports, which each process does once, and by how often they are scored.
    one = study(sampler="one_at_a_time", n_trials=1, transfer_eval_frequency=500)
    computed = estimate_study(space({}), one, PROFILE, arms=ArmSettings(trained=("spelling",), seeds=1, evaluations=2))
    assert computed.arm_hours == pytest.approx(computed.hours)
    assert estimate_study(space({}), one, SHAPELESS, arms=arms).arm_hours is None


def test_nothing_is_made_up_for_a_model_of_unknown_shape() -> None:
    found = estimate_study(space(STEPS), study(), SHAPELESS)
    assert (found.hours, found.cost_usd, found.memory_gib) == (None, None, None)
    assert "model_profile.shape" in found.basis


def test_the_adapter_is_as_large_as_peft_makes_it() -> None:
    # A rank-16 adapter of q, k, v, o: 16 x 36 x ((2560+4096) + 2 x (2560+1024) + (4096+2560)) weights.
    assert adapter_weights(TrialConfig(), PROFILE) == 16 * 36 * (6656 + 2 * 3584 + 6656)


@pytest.mark.parametrize(("setting", "value"), [("lora.r", 128), ("training.logits_mb", 4096)])
def test_memory_rises_with_what_is_held(setting: str, value: int) -> None:
    assert memory_gib(TrialConfig().varied({setting: value}), PROFILE) > memory_gib(TrialConfig(), PROFILE)


def test_memory_does_not_rise_with_the_step_and_falls_with_checkpointing() -> None:
    config = TrialConfig()
    assert memory_gib(config.varied({"training.batch_size": 64}), PROFILE) == memory_gib(config, PROFILE)
    assert memory_gib(config.varied({"training.grad_accum_steps": 64}), PROFILE) == memory_gib(config, PROFILE)
    assert memory_gib(config.varied({"training.gradient_checkpointing": True}), PROFILE) < memory_gib(config, PROFILE)
    # The frozen weights alone: 4.02 billion of two bytes are 7.5 GiB.
    assert memory_gib(config, PROFILE) > 7.5


def test_a_model_that_does_not_fit_is_refused() -> None:
    small = study(lightning=LightningSettings(gpu_tier="t4", memory_gib=6))
    with pytest.raises(StudyConfigError, match=r"Qwen3-4B with rank 16 needs .* for one example; t4 has 6 GiB"):
        check_memory(space(STEPS), small, PROFILE)
    check_memory(space(STEPS), small, SHAPELESS)
