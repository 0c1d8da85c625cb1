from __future__ import annotations

from typing import Any

import optuna
import pytest

from spelling_transfer.study.config import StudyConfigError, TrialConfig
from spelling_transfer.study.space import draw, read_space


def test_each_kind_of_entry_is_drawn_within_its_bounds() -> None:
    space = read_space(
        {
            "lora.r": {"values": [4, 8]},
            "lora.alpha": {"low": 8, "high": 32, "step": 8},
            "training.learning_rate": {"low": 1e-4, "high": 1e-3, "log": True},
            "tokenizer.use_english_only_tokens": {"values": [False, True]},
        },
        TrialConfig(),
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        choices = draw(study.ask(), space)
        assert choices["lora.r"] in (4, 8)
        assert choices["lora.alpha"] in (8, 16, 24, 32)
        assert 1e-4 <= choices["training.learning_rate"] <= 1e-3
        TrialConfig().varied(choices)


@pytest.mark.parametrize(
    ("space", "named"),
    [
        ({"lora.rank": {"values": [4]}}, r"lora\.rank: no such setting; did you mean 'lora\.r'"),
        ({"lora.r": {"values": []}}, r"lora\.r"),
        ({"lora.r": {"values": [0]}}, r"lora\.r: 0 is not allowed"),
        ({"training.learning_rate": {"low": 1e-3, "high": 1e-4}}, "not below"),
        ({"training.learning_rate": {"low": 0, "high": 1e-3, "log": True}}, "log range"),
        ({"training.learning_rate": {"low": 1e-4, "high": 5.0}}, r"learning_rate: 5\.0 is not allowed"),
        ({"lora.r": {"values": [4], "hihg": 3}}, r"lora\.r"),
        ({"lora.r": 4}, r"lora\.r"),
        (
            {"position_task_weight": {"values": [0.3, 0.5]}},
            "weights of its own score compares nothing. Run one study for each value",
        ),
        ({"lightning.gpu_tier": {"values": ["t4", "a100"]}}, "machine's price"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused_by_name(space: dict[str, Any], named: str) -> None:
    with pytest.raises(StudyConfigError, match=named):
        read_space(space, TrialConfig())
