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


def study(n: int, seed: int = 0) -> pd.DataFrame:
    """The score follows the learning rate, the rank a little, and nothing else."""
    rng = np.random.default_rng(seed)
    trials = pd.DataFrame(
        {
            "number": range(n),
            "state": "complete",
            "lora.r": rng.choice([4, 8, 16], n),
            "training.learning_rate": 10 ** rng.uniform(-4, -2, n),
            "training.warmup_steps": rng.integers(0, 21, n),
            "spelling.spelling_difficulty": rng.choice(["easy", "hard"], n),
        }
    )
    log_rate = np.log10(trials["training.learning_rate"])
    trials["transfer_score"] = 0.1 * log_rate + 0.02 * trials["lora.r"].eq(16) + rng.normal(0, 0.005, n)
    return trials


def test_both_methods_find_the_setting_that_matters() -> None:
    found = rate_importance(study(60), SPACE, seeds=4)
    assert found["method"].unique().tolist() == list(METHODS)
    for _, rows in found.groupby("method"):
        assert rows["setting"].iloc[0] == "training.learning_rate"
        assert set(rows["setting"]) == set(SPACE)
        assert rows["importance"].sum() == pytest.approx(1)
        assert rows["importance"].iloc[0] > 0.7
        assert (rows["low"] <= rows["high"]).all()
        assert (rows["seeds"] == 4).all()


def test_the_same_seed_gives_the_same_and_pruned_trials_do_not_count() -> None:
    trials = study(30)
    first, again = (rate_importance(trials, SPACE, seeds=2) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    hopeless = study(10, seed=1).assign(state="pruned", transfer_score=-9.0)
    pd.testing.assert_frame_equal(rate_importance(pd.concat([trials, hopeless]), SPACE, seeds=2), first)


def test_few_trials_vary_more_than_many() -> None:
    spread = []
    for n in (8, 40):
        rows = rate_importance(study(n), SPACE, seeds=4)
        spread.append(float((rows["high"] - rows["low"]).mean()))
    assert spread[0] > 2 * spread[1]


def test_nothing_is_said_where_nothing_can_be_said() -> None:
    for trials in (
        study(4),
        study(20).assign(transfer_score=0.5),
        study(20)[["number", "state"]].assign(transfer_score=range(20)),
    ):
        found = rate_importance(trials, SPACE)
        assert found.empty
        assert list(found.columns) == COLUMNS
    one = study(20)
    one["lora.r"] = 8
    assert "lora.r" not in set(rate_importance(one, SPACE, seeds=1)["setting"])
