"""The benchmark of the tuning runs and writes its rows; what it measures is not judged here."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import tuning_searches as searches
import tuning_surrogate
from benchmark_table import markdown

from .conftest import BENCHMARKS


def test_the_executors_cost_is_measured_beside_optunas(rows_of) -> None:
    beside, alone = rows_of("tuning.py", "--quick", "--only", "overhead")
    assert beside["ratio"] == pytest.approx(beside["peer"] / beside["ours"], rel=0.05)
    assert (alone["goal"], alone["unit"]) == (0.5, "s")


def test_the_grid_changes_one_setting_at_a_time_and_all_searches_share_its_scores() -> None:
    grid = searches.grid()
    default = grid[0].choices
    assert [sum(default[name] != row.choices[name] for name in default) for row in grid] == [0] + [1] * 23
    assert sum(row.steps for row in grid) == 21 * 100 + 30 + 60 + 120
    for trained in (searches.ours(seed=0, n_trials=6), searches.plain_optuna(seed=0, n_trials=6)):
        assert len(trained) == 6
        for row in trained:
            config = searches.config_of(row.choices)
            assert config.training.batch_size * config.training.grad_accum_steps <= 128
            assert row.steps <= config.training.max_steps
            assert row.completed == (row.steps == config.training.max_steps)


def test_the_surrogates_curves_rise_and_their_noise_comes_from_the_seed() -> None:
    config = searches.config_of({}, seed=3)
    curve = [tuning_surrogate.evaluate(config, step) for step in searches.evaluations(config)]
    assert curve == [tuning_surrogate.evaluate(config, step) for step in searches.evaluations(config)]
    assert [each.step for each in curve] == [15, 30, 45, 60, 75, 90, 100]
    assert all(before.spelling <= after.spelling for before, after in pairwise(curve))
    other = tuning_surrogate.evaluate(searches.config_of({}, seed=4), 60)
    assert other != curve[-1]
    assert abs(other.spelling - tuning_surrogate.expected_scores(config, 60)["spelling"]) < 0.15


def test_the_page_shows_the_committed_figures() -> None:
    rows = json.loads((BENCHMARKS / "results" / "tuning.json").read_text())
    assert markdown(rows) in (BENCHMARKS.parent / "docs" / "hyperparameter_tuning.md").read_text()
