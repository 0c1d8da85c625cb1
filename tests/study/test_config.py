from __future__ import annotations

import pytest
from pydantic import ValidationError

from spelling_transfer.statistics.scores import transfer_score
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig, setting_names

SPACE = {"lora.r": {"values": [4, 8]}}


def test_defaults_are_the_missions() -> None:
    config = TrialConfig()
    assert (config.lora.r, config.lora.alpha, config.lora.dropout) == (16, 32, 0.05)
    training = config.training
    assert (training.learning_rate, training.batch_size, training.grad_accum_steps) == (2e-4, 8, 4)
    assert (training.max_steps, training.warmup_steps) == (1000, 100)
    assert (config.spelling.spelling_data_ratio, config.spelling.spelling_difficulty) == (0.7, "medium")
    assert not config.tokenizer.use_english_only_tokens


def test_a_varied_configuration_changes_that_setting_alone() -> None:
    varied = TrialConfig().varied({"lora.r": 4, "training.seed": 7})
    assert varied.lora.r == 4
    assert varied.training.seed == 7
    assert varied.varied({"lora.r": 16, "training.seed": 0}) == TrialConfig()


def test_several_layers_can_be_one_text() -> None:
    varied = TrialConfig().varied({"lora.target_modules": "q_proj, v_proj"})
    assert varied.lora.target_modules == ("q_proj", "v_proj")


def test_wrong_names_and_values_are_refused() -> None:
    with pytest.raises(StudyConfigError, match=r"lora\.rank: no such setting of a trial; did you mean 'lora\.r'"):
        TrialConfig().varied({"lora.rank": 4})
    with pytest.raises(StudyConfigError, match=r"learning_rate: no such setting .*'training\.learning_rate'"):
        TrialConfig().varied({"learning_rate": 1e-4})
    with pytest.raises(StudyConfigError, match=r"lora\.r: 0 is not allowed"):
        TrialConfig().varied({"lora.r": 0})
    with pytest.raises(ValidationError):
        TrialConfig.model_validate({"lora": {"rank": 4}})
    assert "training.learning_rate" in setting_names()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_trials": 0}, "n_trials"),
        *(({"name": name}, "name") for name in ("a/b", ".", "..", ".hidden", "a.", "-a", "", "x" * 101)),
        ({"workers": 0}, "not between 1 and 1024"),
        ({"workers": "many"}, "workers"),
        ({"sampler": "annealing"}, "sampler"),
        ({"position_task_weight": 1.5}, "position_task_weight"),
        ({"lightning": {"gpu_tier": "v100"}}, "gpu_tier"),
        ({"storage": "postgresql+psycopg://user:secret@host/db"}, "holds a password"),
        ({"storage": "postgresql+psycopg://user:sec/ret@host/db"}, "holds a password"),
        ({"storage": "postgresql+psycopg://user@host/db?password=secret"}, "holds a password"),
        ({"storage": "study.db"}, "not a database URL"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        StudySettings.model_validate({"space": SPACE, **settings})
    assert "postgresql" not in message or "secret" not in caught.value.errors()[0]["msg"]


def test_the_focus_sets_the_weights_and_a_weight_overrides_it() -> None:
    study = StudySettings(space=SPACE, focus="transfer")
    assert (study.weights.position, study.weights.count) == (0.6, 0.6)
    assert (
        study.focus_name == StudySettings(space=SPACE, focus="transfer", count_task_weight=0.6).focus_name == "transfer"
    )
    mixed = StudySettings(space=SPACE, position_task_weight=0.7)
    assert (mixed.weights.position, mixed.weights.count) == (0.7, 0.5)
    assert mixed.focus_name == "own"  # pages would name weights that were not used
    assert transfer_score(0.0, 1.0, 0.0, mixed.weights) == pytest.approx(0.7)
