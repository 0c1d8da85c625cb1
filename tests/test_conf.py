"""The shipped configuration: every file is read, every value fits its model, every dataset has its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from spelling_transfer.configuration.layers import nest
from spelling_transfer.configuration.loader import ProjectConfigLoader
from spelling_transfer.configuration.parameters import check_parameters
from spelling_transfer.models.profile import ModelProfile, ModelShape
from spelling_transfer.settings import CONFIG_LOADER_ARGS
from spelling_transfer.study.choices import choices_of, planned_trials
from spelling_transfer.study.config import LightningSettings, StudySettings, TrialConfig
from spelling_transfer.study.space import read_space

CONF = Path(__file__).parents[1] / "conf"
ENVIRONMENTS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "base")
ROOMS = (".", "spelling_transfer")
BY_A_HOOK = {"run_summary", "summary_page", "policy_report"}  # made at the end of a run, by no node
BY_A_COMMAND = {"public_set_answers.{name}", "public_set_report.{name}"} | {
    f"engine_{name}" for name in ("answers", "scores", "pairs", "differences")
}
LAYERS = [
    "1 raw",
    "2 intermediate",
    "3 primary",
    "4 feature",
    "5 model input",
    "6 models",
    "7 model output",
    "8 reporting",
]


def load(env: str, kind: str) -> dict[str, Any]:
    return ProjectConfigLoader(conf_source=str(CONF), env=env, **CONFIG_LOADER_ARGS)[kind]


@pytest.fixture(params=ENVIRONMENTS)
def env(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "named")  # else the bucket is asked for the latest run
    return str(request.param)


def test_parameters_fit_their_models_and_none_is_left_over(env, project_pipelines):
    check_parameters(load(env, "parameters"), project_pipelines)


def test_the_modules_that_comments_name_are_there():
    sources = CONF.parent / "src"
    named = {
        (file.name, name)
        for file in CONF.rglob("*.yml")
        for name in re.findall(r"(?<![\w/])[a-z_]+/[a-z_]+\.py", file.read_text())
    }
    assert len(named) >= 10
    missing = {(file, name) for file, name in named if not any((sources / room / name).is_file() for room in ROOMS)}
    assert missing == set()


def test_every_dataset_can_be_made_from_its_entry(env):
    entries = load(env, "catalog")
    catalog = DataCatalog.from_config(entries)
    assert {name for name in entries if catalog[name]} == set(entries)


def test_every_dataset_has_a_layer(env):
    layers = {name: entry["metadata"]["kedro-viz"]["layer"] for name, entry in load(env, "catalog").items()}
    assert {name: layer for name, layer in layers.items() if layer not in LAYERS} == {}


def test_every_dataset_of_the_pipelines_is_kept_and_every_entry_is_used(env, project_pipelines: dict[str, Pipeline]):
    datasets = {
        name
        for name in project_pipelines["__default__"].datasets()
        if not name.startswith("params:") and name != "parameters"
    }
    assert datasets | BY_A_HOOK | BY_A_COMMAND == set(load(env, "catalog"))


FOLDERS = ("models", "training", "evaluation", "search_spaces", "lightning", "token_analysis")
READY = sorted(file for file in CONF.glob("*/study/*/*.yml"))


def ready(file: Path) -> dict[str, Any]:
    """Returns what a ready file holds in its environment, with what it extends."""
    env = file.parents[2].name
    loader = ProjectConfigLoader(conf_source=str(CONF), env="local" if env == "base" else env, **CONFIG_LOADER_ARGS)
    return nest(loader.presets().expand({"extends": f"{file.parent.name}/{file.stem}"}, str(file)))


def test_the_bucket_of_s3_is_named_once():
    lines = (CONF / "s3" / "globals.yml").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if "://" in line] == ["_bucket: s3://spelling-transfer"]


def test_the_six_folders_are_there():
    assert {file.parent.name for file in READY} == set(FOLDERS)
    assert {folder.name for folder in (CONF / "base" / "study").iterdir()} == set(FOLDERS)


@pytest.mark.parametrize("file", READY, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_ready_file_is_valid(file):
    content, group = ready(file), file.parent.name
    if group == "models":
        assert ModelProfile.model_validate(content).shape is not None
    elif group == "training":
        TrialConfig.model_validate(content)
    elif group == "evaluation":
        assert set(content) == {"validation_words", "transfer_eval_frequency", "patience"}
        StudySettings.model_validate({"space": {}, **content})
    elif group == "lightning":
        machine = LightningSettings.model_validate(content)
        assert machine.gpu_tier == file.stem
        assert set(content) == set(LightningSettings.model_fields)  # no part of a machine is left to a default
    elif group == "search_spaces":
        study = StudySettings(space=content, sampler="random", n_trials=20, lightning=LightningSettings(memory_gib=79))
        defaults = TrialConfig()
        space = read_space(content, defaults)
        assert planned_trials(space, study) == 20
        assert all(choices_are_valid(space, study, number) for number in range(20))
    else:
        assert content  # its models are checked with the parameters, which name each file


def choices_are_valid(space, study, number) -> bool:
    choices = choices_of(space, study, number)
    return not space.broken(choices) and space.defaults.varied(choices) is not None


def test_the_missions_space_is_24_trials_one_at_a_time_around_its_defaults():
    defaults = TrialConfig.model_validate(ready(CONF / "base" / "study" / "training" / "mission.yml"))
    space = read_space(ready(CONF / "base" / "study" / "search_spaces" / "mission.yml"), defaults)
    assert planned_trials(space, StudySettings(space={}, sampler="one_at_a_time", n_trials=None)) == 24
    assert defaults.varied({"lora.target_modules": None}) == TrialConfig()


def test_the_shape_of_the_embedded_model_is_that_of_its_folder():
    profile = ModelProfile.model_validate(ready(CONF / "base" / "study" / "models" / "tiny-qwen3.yml"))
    folder = CONF.parent / "data" / "01_raw" / "models" / "tiny-qwen3"
    config = json.loads((folder / "config.json").read_text())
    rows, size = config["vocab_size"], 4
    assert profile.shape == ModelShape.of_config(config, name=profile.name, vocabulary_rows=rows, bytes_per_weight=size)


def test_every_range_of_the_literature_names_its_source():
    space = ready(CONF / "base" / "study" / "search_spaces" / "literature.yml")
    model_settings = [name for name in space if name.startswith("lora.") or name == "training.learning_rate"]
    assert len(model_settings) == 6
    assert [name for name in model_settings if not space[name].get("source")] == []
