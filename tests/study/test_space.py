from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spelling_transfer.study.choices import choices_of, most_steps, nearest, planned_trials
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.entries import Range
from spelling_transfer.study.space import SearchSpace, read_space

SEED_GRID: dict[str, list[Any]] = {
    # As the mission writes it.
    "lora_r": [4, 8, 16, 32],
    "lora_alpha": [8, 16, 32, 64],
    "learning_rate": [1e-4, 2e-4, 5e-4, 1e-3],
    "batch_size": [4, 8, 16, 32],
    "grad_accum_steps": [1, 2, 4, 8],
    "max_steps": [500, 1000, 2000, 5000],
    "spelling_data_ratio": [0.5, 0.7, 0.9],
    "spelling_difficulty": ["easy", "medium", "hard"],
    "position_task_weight": [0.3, 0.5, 0.7],
    "count_task_weight": [0.3, 0.5, 0.7],
    "gpu_tier": ["cpu", "t4", "a100"],
    "use_english_only_tokens": [False, True],
    "analyze_thinking_mode": [False, True],
}
REFUSED = {"position_task_weight", "count_task_weight", "gpu_tier", "analyze_thinking_mode"}
NAMES = {
    "lora_r": "lora.r",
    "lora_alpha": "lora.alpha",
    "spelling_data_ratio": "spelling.spelling_data_ratio",
    "spelling_difficulty": "spelling.spelling_difficulty",
    "use_english_only_tokens": "tokenizer.use_english_only_tokens",
}


def space_of(entries: dict[str, Any]) -> SearchSpace:
    return read_space(entries, TrialConfig())


def study(sampler: str, **settings: Any) -> StudySettings:
    return StudySettings.model_validate({"space": {}, "n_trials": None, "sampler": sampler, **settings})


def rows(space: SearchSpace, settings: StudySettings) -> list[dict[str, Any]]:
    found = [choices_of(space, settings, number) for number in range(planned_trials(space, settings))]
    return [row for row in found if row is not None]


def test_the_missions_grid_has_31_configurations_one_at_a_time_and_24_that_train_something_else() -> None:
    as_written = 1 + sum(len(values) - 1 for values in SEED_GRID.values())
    assert as_written == 31
    searched = {
        NAMES.get(name, f"training.{name}"): {"values": values}
        for name, values in SEED_GRID.items()
        if name not in REFUSED
    }
    varied = rows(space_of(searched), study("one_at_a_time"))
    assert len(varied) == 24
    default = TrialConfig()
    assert all(value == default.value(name) for name, value in varied[0].items())
    for row in varied[1:]:
        assert sum(value != default.value(name) for name, value in row.items()) == 1
    assert len({repr(row) for row in varied}) == 24


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_the_mission_lists_beside_is_refused_with_the_reason_and_what_to_do(name: str) -> None:
    with pytest.raises(StudyConfigError, match=f"{name} is a setting of a study and cannot be searched") as caught:
        space_of({"lora.r": {"values": [4, 8]}, name: {"values": SEED_GRID[name]}})
    remedies = (
        "kedro tokens --analyze-thinking",
        "Run one study for each value",
        "kedro tune --gpu-tier TIER --dry-run",
    )
    assert any(remedy in str(caught.value) for remedy in remedies)


@pytest.mark.parametrize(
    ("space", "named"),
    [
        ({"lora.rank": {"values": [4]}}, r"lora\.rank: no such setting; did you mean 'lora\.r'"),
        ({"learning_rate": {"values": [4]}}, r"'training\.learning_rate'"),
        ({"lora.r": {"values": []}}, r"lora\.r"),
        ({"lora.r": {"values": [4, 4]}}, "name one twice"),
        ({"lora.r": {"values": [0]}}, r"lora\.r: 0 is not allowed"),
        ({"training.learning_rate": {"low": 1e-3, "high": 1e-4}}, "not below"),
        ({"training.learning_rate": {"low": 0, "high": 1e-3, "log": True}}, "log range"),
        ({"training.learning_rate": {"low": 1e-4, "high": 5.0}}, r"learning_rate: 5\.0 is not allowed"),
        ({"training.learning_rate": {"low": 1e-4, "high": 1e-3, "step": 1.0}}, "beyond high"),
        ({"training.learning_rate": {"low": 1e-4, "high": float("inf")}}, "finite"),
        ({"lora.r": {"low": 4, "high": 8.5}}, "whole numbers"),
        ({"lora.r": {"values": [4], "hihg": 3}}, r"lora\.r"),
        ({"lora.r": 4}, r"lora\.r"),
        ({"lora.r": {"values": [4], "when": {"lora.dora": [True]}}}, r"lora\.r: depends on lora\.dora"),
        ({"lora.alpha": {"follows": "spelling.spelling_difficulty", "ratios": [2]}}, "not a number"),
        ({a: {"follows": b, "ratios": [1]} for a, b in (("lora.r", "lora.alpha"), ("lora.alpha", "lora.r"))}, "circle"),
        ({"lora.alpha": {"follows": "lora.r", "ratios": [100]}}, r"lora\.alpha: 1600 is not allowed"),
        ({"lightning.gpu_tier": {"values": ["t4", "a100"]}}, "machine's price"),
        ({"training.seed": {"values": [0, 1]}}, "each trial's seed comes from its number"),
        ({"constraints": [{"produkt": ["lora.r"]}]}, "not a constraint"),
        ({"constraints": [{"product": ["lora.rr"], "at_most": 1}]}, r"lora\.rr: no such setting"),
        ({"constraints": [{"product": ["lora.r"]}]}, "needs at_least"),
        ({"constraints": [{"product": ["lora.r"], "at_least": 9, "at_most": 8}]}, "at_least 9 is above at_most 8"),
    ],
)  # fmt: skip
def test_a_space_that_makes_no_sense_is_refused_by_name(space: dict[str, Any], named: str) -> None:
    with pytest.raises(StudyConfigError, match=named):
        space_of(space)


def test_constraints_that_nothing_obeys_are_one_clear_error() -> None:
    batch = {"training.batch_size": {"values": [8, 16]}, "training.grad_accum_steps": {"values": [4, 8]}}
    product = ["training.batch_size", "training.grad_accum_steps"]
    contradiction = [{"product": product, "at_most": 16, "reason": "16 GB"}]
    with pytest.raises(StudyConfigError, match=r"no configuration obeys all constraints: .* <= 16 \(16 GB\)"):
        space_of({**batch, "constraints": contradiction})
    with pytest.raises(StudyConfigError, match="no configuration obeys"):
        # Not on a grid of it either: a range that lies above.
        space_of({"lora.r": {"low": 8, "high": 9}, "constraints": [{"increasing": ["lora.r", "training.seed"]}]})


def test_a_space_without_trials_is_refused() -> None:
    for sampler in ("grid", "random", "tpe"):
        with pytest.raises(StudyConfigError, match=r"study\.space: is empty"):
            planned_trials(space_of({}), study(sampler, n_trials=3))
    assert rows(space_of({}), study("one_at_a_time")) == [{}]
    with pytest.raises(StudyConfigError, match=r"study\.n_trials: null is for grid and one_at_a_time"):
        planned_trials(space_of({"lora.r": {"values": [4, 8]}}), study("tpe"))


def test_alpha_follows_the_rank() -> None:
    space = space_of({"lora.alpha": {"follows": "lora.r", "ratios": [1, 2]}, "lora.r": {"values": [4, 8]}})
    found = {(row["lora.r"], row["lora.alpha"]) for row in rows(space, study("grid"))}
    assert found == {(4, 4), (4, 8), (8, 8), (8, 16)}
    one = rows(space, study("one_at_a_time"))
    assert [(row["lora.r"], row["lora.alpha"]) for row in one] == [(16, 32), (4, 8), (8, 16), (16, 16)]


def test_a_condition_decides_what_is_searched() -> None:
    space = space_of(
        {"lora.use_rslora": {"values": [False, True], "when": {"lora.r": [32]}}, "lora.r": {"values": [8, 32]}}
    )
    found = {(row["lora.r"], row["lora.use_rslora"]) for row in rows(space, study("grid"))}
    assert found == {(8, False), (32, False), (32, True)}
    assert len(rows(space, study("grid"))) == 3
    random = rows(space, study("random", n_trials=40))
    assert not any(row["lora.use_rslora"] for row in random if row["lora.r"] == 8)
    assert any(row["lora.use_rslora"] for row in random)


CONSTRAINED = {
    "training.batch_size": {"values": [4, 8, 16, 32]},
    "training.grad_accum_steps": {"values": [1, 2, 4, 8]},
    "training.warmup_steps": {"low": 0, "high": 400, "step": 100},
    "training.max_steps": {"low": 100, "high": 1000, "log": True},
    "constraints": [
        {"product": ["training.batch_size", "training.grad_accum_steps"], "at_least": 16, "at_most": 64},
        {"increasing": ["training.warmup_steps", "training.max_steps"]},
    ],
}


@pytest.mark.parametrize("sampler", ["grid", "one_at_a_time", "random", "qmc"])
def test_constraints_hold_for_every_configuration(sampler: str) -> None:
    found = rows(space_of(CONSTRAINED), study(sampler, n_trials=200))
    assert len(found) > 5
    for row in found:
        assert 16 <= row["training.batch_size"] * row["training.grad_accum_steps"] <= 64
        assert row["training.warmup_steps"] <= row["training.max_steps"]


@settings(max_examples=50)
@given(st.sampled_from([4, 8, 16, 32]), st.sampled_from([1, 2, 4, 8]))
def test_a_draw_that_breaks_a_constraint_moves_no_further_than_it_must(batch: int, accumulation: int) -> None:
    space = space_of(CONSTRAINED)
    drawn = {
        "training.batch_size": batch,
        "training.grad_accum_steps": accumulation,
        "training.warmup_steps": 100,
        "training.max_steps": 777,
    }
    moved = nearest(space, drawn) if space.broken(space.settle(drawn)) else drawn
    assert not space.broken(space.settle(moved))
    assert moved["training.max_steps"] == 777
    steps = abs(math.log2(moved["training.batch_size"] / batch)) + abs(
        math.log2(moved["training.grad_accum_steps"] / accumulation)
    )
    product = math.log2(batch * accumulation)
    assert steps == max(0, product - 6, 4 - product)  # each place halves or doubles; 16 to 64 is 2^4 to 2^6


@settings(max_examples=50)
@given(st.integers(0, 2**20), st.integers(0, 500))
def test_a_random_trial_depends_on_seed_and_number_alone(seed: int, number: int) -> None:
    space = space_of({"lora.r": {"values": [4, 8]}, "training.learning_rate": {"low": 1e-4, "high": 1e-3, "log": True}})
    settings = study("qmc" if number % 2 else "random", seed=seed, n_trials=3)
    first, again = choices_of(space, settings, number), choices_of(space, settings, number)
    assert first == again
    assert first is not None
    assert 1e-4 <= first["training.learning_rate"] <= 1e-3
    TrialConfig().varied(first)


def test_whole_ends_make_no_whole_numbers_of_a_setting_that_has_none() -> None:
    space = space_of({"training.weight_decay": {"low": 0, "high": 1}, "training.max_steps": {"low": 1, "high": 9}})
    found = rows(space, study("random", n_trials=20))
    assert all(0 < row["training.weight_decay"] < 1 for row in found)
    assert all(isinstance(row["training.max_steps"], int) for row in found)
    assert space_of(space.as_data()).as_data() == space.as_data()


@pytest.mark.parametrize("sampler", ["grid", "one_at_a_time", "random", "qmc"])
def test_a_share_of_a_whole_number_is_one_where_the_setting_is(sampler: str) -> None:
    steps = {"training.max_steps": {"low": 100, "high": 1000}}
    space = space_of({"training.warmup_steps": {"follows": "training.max_steps", "ratios": [0.1, 0.25]}, **steps})
    for row in rows(space, study(sampler, n_trials=20)):
        assert TrialConfig().varied(row).training.warmup_steps == row["training.warmup_steps"]
        shares = [abs(row["training.warmup_steps"] - share * row["training.max_steps"]) for share in (0.1, 0.25)]
        assert min(shares) <= 0.5


def test_random_trials_differ_from_each_other_and_between_seeds() -> None:
    space = space_of({"training.learning_rate": {"low": 1e-4, "high": 1e-3, "log": True}})
    drawn = [choices_of(space, study("random", seed=seed), number) for seed in range(5) for number in range(20)]
    rates = {row["training.learning_rate"] for row in drawn if row is not None}
    assert len(rates) == 100
    below_middle = np.mean([rate < math.sqrt(1e-4 * 1e-3) for rate in rates])
    assert 0.3 < below_middle < 0.7  # on the scale of the logarithm, half of them; 0.3 is 4 deviations away


def test_a_grid_lists_each_configuration_once_and_a_part_of_it_is_spread() -> None:
    space = space_of({"lora.r": {"values": [4, 8, 16]}, "training.max_steps": {"low": 100, "high": 300, "step": 100}})
    found = rows(space, study("grid"))
    assert len({tuple(row.values()) for row in found}) == len(found) == space.grid_size == 9
    assert rows(space, study("grid", n_trials=4)) == found[:4]
    assert rows(space, study("grid", seed=1)) != found
    with pytest.raises(StudyConfigError, match="9 configurations"):
        choices_of(space, study("grid"), 9)


def test_a_grid_too_large_to_list_is_refused() -> None:
    wide = {f"training.{name}": {"low": 1, "high": 100, "step": 1} for name in ("max_steps", "batch_size", "threads")}
    del wide["training.threads"]
    wide["lora.r"] = {"low": 1, "high": 100, "step": 1}
    with pytest.raises(StudyConfigError, match="1,000,000 configurations is more than"):
        planned_trials(space_of(wide), study("grid"))


def test_a_range_without_steps_gives_a_grid_its_points() -> None:
    assert Range(low=1e-4, high=1e-1, log=True).grid() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert Range(low=0.5, high=1.0, points=3).grid() == pytest.approx([0.5, 0.75, 1.0])
    assert Range(low=1, high=3, points=10).grid() == [1, 2, 3]
    assert Range(low=0.1, high=0.3, step=0.1).grid() == pytest.approx([0.1, 0.2, 0.3])


@settings(max_examples=50)
@given(st.integers(1, 50), st.integers(1, 50), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_every_draw_of_a_range_lies_in_it(low: int, width: int, log: bool, share: float) -> None:
    entry = Range(low=low, high=low + width, log=log)
    value = entry.at(share)
    assert isinstance(value, int)
    assert low <= value <= low + width


def test_a_space_as_data_is_the_same_space() -> None:
    space = space_of({**CONSTRAINED, "lora.alpha": {"follows": "lora.r", "ratios": [2], "source": "a paper"}})
    again = space_of(space.as_data())
    assert again.entries == space.entries
    assert again.constraints == space.constraints


def test_the_longest_trial_is_known_before_any_is_run() -> None:
    assert most_steps(space_of({"lora.r": {"values": [4, 8]}})) == 1000
    assert most_steps(space_of({"training.max_steps": {"values": [500, 5000, 200]}})) == 5000
    assert most_steps(space_of({"training.max_steps": {"low": 100, "high": 3000, "log": True}})) == 3000
    sometimes = {"training.max_steps": {"values": [10, 20], "when": {"lora.r": [4]}}, "lora.r": {"values": [4, 8]}}
    assert most_steps(space_of(sometimes)) == 1000
