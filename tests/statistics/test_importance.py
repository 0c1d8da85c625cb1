from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.statistics.importance import COLUMNS, METHODS, rate_importance

SPACE = {
    "lora.r": {"values": [4, 8, 16]},
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "training.warmup_steps": {"low": 0, "high": 20},
    "spelling.spelling_difficulty": {"values": ["easy", "hard"]},
}


def study(n: int, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Settings and scores: the score follows the learning rate, the rank a little, and nothing else."""
    rng = np.random.default_rng(seed)
    settings = pd.DataFrame(
        {
            "lora.r": rng.choice([4, 8, 16], n),
            "training.learning_rate": 10 ** rng.uniform(-4, -2, n),
            "training.warmup_steps": rng.integers(0, 21, n),
            "spelling.spelling_difficulty": rng.choice(["easy", "hard"], n),
        }
    )
    log_rate = np.log10(settings["training.learning_rate"])
    return settings, 0.1 * log_rate + 0.02 * settings["lora.r"].eq(16) + rng.normal(0, 0.005, n)


def test_both_methods_find_the_setting_that_matters() -> None:
    found = rate_importance(*study(60), SPACE, seeds=4)
    assert found["method"].unique().tolist() == list(METHODS)
    for _, rows in found.groupby("method"):
        assert rows["setting"].iloc[0] == "training.learning_rate"
        assert set(rows["setting"]) == set(SPACE)
        assert rows["importance"].sum() == pytest.approx(1)
        assert rows["importance"].iloc[0] > 0.7
        assert (rows["low"] <= rows["high"]).all()
        assert (rows["seeds"] == 4).all()


def test_the_same_seed_gives_the_same() -> None:
    first, again = (rate_importance(*study(30), SPACE, seeds=2) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


def test_few_trials_vary_more_than_many() -> None:
    spread = []
    for n in (8, 40):
        rows = rate_importance(*study(n), SPACE, seeds=4)
        spread.append(float((rows["high"] - rows["low"]).mean()))
    assert spread[0] > 2 * spread[1]


def test_nothing_is_said_where_nothing_can_be_said() -> None:
    settings, scores = study(20)
    for nothing in (
        study(4),
        (settings, np.full(20, 0.5)),
        (settings[[]], scores),
        (settings.iloc[:0], scores.iloc[:0]),
    ):
        found = rate_importance(*nothing, SPACE)
        assert found.empty
        assert list(found.columns) == COLUMNS
    assert "lora.r" not in set(rate_importance(settings.assign(**{"lora.r": 8}), scores, SPACE, seeds=1)["setting"])
