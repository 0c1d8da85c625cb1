from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.study.config import StudyConfigError, TrialConfig, setting_names
from spelling_transfer.study.space import read_space

STUDY = Path(__file__).parents[2] / "conf" / "base" / "study"


def test_every_shipped_training_file_is_a_valid_configuration() -> None:
    files = sorted((STUDY / "training").glob("*.yml"))
    assert files
    for file in files:
        TrialConfig.model_validate(yaml.safe_load(file.read_text()))


def test_every_shipped_search_space_is_valid() -> None:
    files = sorted((STUDY / "search_spaces").glob("*.yml"))
    assert files
    for file in files:
        assert read_space(yaml.safe_load(file.read_text()), TrialConfig())


def test_every_shipped_model_profile_is_valid() -> None:
    files = sorted(STUDY.parents[1].glob("*/study/models/*.yml"))
    assert files
    for file in files:
        assert ModelProfile.model_validate(yaml.safe_load(file.read_text())).name


def test_defaults_are_the_missions() -> None:
    config = TrialConfig()
    assert (config.lora.r, config.lora.alpha, config.lora.dropout) == (16, 32, 0.05)
    training = config.training
    assert (training.learning_rate, training.batch_size, training.grad_accum_steps) == (2e-4, 8, 4)
    assert (training.max_steps, training.warmup_steps) == (1000, 100)
    assert not config.tokenizer.use_english_only_tokens


def test_a_varied_configuration_changes_that_setting_alone() -> None:
    varied = TrialConfig().varied({"lora.r": 4, "training.seed": 7})
    assert varied.lora.r == 4
    assert varied.training.seed == 7
    assert varied.varied({"lora.r": 16, "training.seed": 0}) == TrialConfig()


def test_wrong_names_and_values_are_refused() -> None:
    with pytest.raises(StudyConfigError, match=r"lora\.rank: no such setting"):
        TrialConfig().varied({"lora.rank": 4})
    with pytest.raises(StudyConfigError, match=r"lora\.r: 0 is not allowed"):
        TrialConfig().varied({"lora.r": 0})
    with pytest.raises(ValidationError):
        TrialConfig.model_validate({"lora": {"rank": 4}})
    assert "training.learning_rate" in setting_names()
