"""Arms are trained with the same seeds and settings; what cannot be trained is named, and spelling must be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.samples.studies import Material

from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.vocabulary import UnknownTokenError
from spelling_transfer.study.arms import ArmSettings, train_arms
from spelling_transfer.study.config import TrialConfig
from spelling_transfer.study.confirm import Retraining
from spelling_transfer.tasks.arms import TRAINED_ARMS, ArmError
from spelling_transfer.training.data import TrainingDataError


@pytest.fixture
def base(tmp_path: Path) -> ModelFolder:
    with new_folder(tmp_path / "base", {}) as work:
        (work / "config.json").write_text("{}")
    return ModelFolder(tmp_path / "base")


def test_every_arm_has_the_same_configuration_and_seeds(tmp_path: Path, base: ModelFolder) -> None:
    settings = ArmSettings(trained=("direct_count", "spelling", "form_control"))
    done = train_arms(TrialConfig(), [4, 5], settings, Retraining(Material(), tmp_path / "study"))
    assert list(done.adapters) == [
        (arm, seed) for arm in ("spelling", "form_control", "direct_count") for seed in (4, 5)
    ]
    folder = done.folder(base)
    runs = folder.manifest()["runs"]
    found = [json.loads((folder.path / run["folder"] / "adapter.txt").read_text()) for run in runs]
    assert found == [[run["arm"], run["seed"], TrialConfig().training.learning_rate] for run in runs]
    ModelFolder.open(folder.path)
    for run in runs:  # each has its own manifest, which says what it was trained on
        assert ModelFolder.open(folder.path / run["folder"]).manifest()["arm"] == run["arm"]
    assert set(folder.manifest()["missing"]) == {*TRAINED_ARMS} - {"spelling", "form_control", "direct_count"}


def test_an_altered_adapter_of_an_arm_is_found(tmp_path: Path, base: ModelFolder) -> None:
    settings = ArmSettings(trained=("spelling",))
    folder = train_arms(TrialConfig(), [4], settings, Retraining(Material(), tmp_path / "study")).folder(base)
    (folder.path / "spelling" / "seed-4" / "manifest.json").write_text("{}")
    with pytest.raises(Exception, match=r"manifest\.json: sha256 is"):
        ModelFolder.open(folder.path)


def test_scores_stand_against_steps_and_plain_lines_before_and_after(tmp_path: Path) -> None:
    settings = ArmSettings(trained=("spelling", "wrong_letters"))
    for _ in range(2):  # trained, and found
        done = train_arms(TrialConfig(), [4], settings, Retraining(Material(), tmp_path / "study"))
        curves = done.curves()
        assert curves.groupby("arm")["step"].agg(list).to_dict() == {"spelling": [25, 50], "wrong_letters": [25, 50]}
        assert curves["spelling"].tolist() == [0.25, 0.5] * 2
        assert done.runs()[["base_plain_lines", "plain_lines"]].to_numpy().tolist() == [[0.9, 0.88]] * 2
        assert done.correct("spelling") == {4: (True, True)}


@pytest.mark.parametrize(
    "error", [ArmError("no rows"), UnknownTokenError("no token for ':s'"), TrainingDataError("labels outside")]
)
def test_an_arm_that_cannot_be_trained_is_named(tmp_path: Path, base: ModelFolder, error: Exception) -> None:
    settings = ArmSettings(trained=("spelling", "indexed_spelling", "token_letters"))
    retraining = Retraining(Material(fails={"indexed_spelling": error}), tmp_path / "study")
    done = train_arms(TrialConfig(), [4, 5], settings, retraining)
    assert {arm for arm, _ in done.adapters} == {"spelling", "token_letters"}
    assert done.folder(base).manifest()["missing"]["indexed_spelling"] == str(error)
    with pytest.raises(type(error)):
        train_arms(TrialConfig(), [4], settings, Retraining(Material(fails={"spelling": error}), tmp_path / "other"))


def test_spelling_cannot_be_left_out() -> None:
    with pytest.raises(ValidationError, match="lacks 'spelling'"):
        ArmSettings(trained=("form_control",))
