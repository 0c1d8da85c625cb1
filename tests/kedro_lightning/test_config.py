"""`compute.yml`: what it may say, and what is said about what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedro_lightning.config import ComputeConfig, load_config, parse_config
from kedro_lightning.errors import SettingsError
from spelling_transfer.configuration.loader import ProjectConfigLoader
from spelling_transfer.settings import CONFIG_LOADER_ARGS

ROOT = Path(__file__).parents[2]
TIER = {"t4": {"machines": ["T4"]}}


def shipped(env: str, monkeypatch: pytest.MonkeyPatch) -> ComputeConfig:
    monkeypatch.setenv("SPELLING_STUDIO_DATA", "/shared/data")
    return load_config(ProjectConfigLoader(conf_source=str(ROOT / "conf"), env=env, **CONFIG_LOADER_ARGS))


def test_as_shipped_nothing_is_rented(monkeypatch: pytest.MonkeyPatch) -> None:
    config = shipped("local", monkeypatch)
    assert config.tags == {}
    assert config.budget.run_usd is None
    assert list(config.studios) == ["preparation", "tuning", "training", "evaluation", "deployment"]


def test_an_environment_changes_single_values(monkeypatch: pytest.MonkeyPatch) -> None:
    config = shipped("studio_test", monkeypatch)
    assert config.tags == {"gpu": "t4"}
    assert config.budget.run_usd == 5
    assert config.tiers["t4"].machines == ("T4", "L4", "A100")  # from base
    assert config.data.mounts == {"data/studio_test": "/shared/data"}
    assert config.data.bundled == ("data/01_raw/models/tiny-qwen3",)


def test_a_project_without_the_file_rents_nothing(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "local").mkdir()
    assert load_config(ProjectConfigLoader(conf_source=str(tmp_path), env="local", **CONFIG_LOADER_ARGS)).tags == {}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({"tag": {}}, ["tag: there is no such setting"]),
        ({"tags": {"gpu": "t5"}, "tiers": TIER}, ["tags.gpu", "no tier 't5'", "Known: t4"]),
        ({"tiers": {"t4": {"machines": []}}}, ["tiers.t4.machines"]),
        ({"budget": {"run_usd": -1}}, ["budget.run_usd", "-1", "greater than or equal to 0"]),
        ({"tiers": {"t4": {"machines": ["T4"], "longest_minutes": 0}}}, ["tiers.t4.longest_minutes", "0"]),
        (
            {"studios": {"a": {"name": "same"}, "b": {"name": "same"}}},
            ["studios.a.name", "'same' is the Studio of two tasks"],
        ),
        ({"studios": {"a": {"name": "a", "environment": "x"}}}, ["no environment 'x'", "Known: default"]),
        (
            {"secrets": ["KEY"], "environments": {"default": {"variables": {"KEY": "x"}}}},
            ["KEY is a secret", "platform's store"],
        ),
        ({"pass_on": ["RUN", "WANDB_API_KEY"]}, ["pass_on: WANDB_API_KEY is a secret", "platform's store"]),
        (
            {"deployments": {"speller": {"task": "a", "command": "a", "variables": {"PGPASSWORD": "x"}}}},
            ["deployments.speller", "variables: PGPASSWORD is a secret"],
        ),
        (
            {"deployments": {"speller": {"task": "a", "variables": {"A": "x"}}}},
            ["compute: deployments.speller.command: field required"],
        ),
        ({"secrets": ["not a name"]}, ["secrets"]),
        (
            {"data": {"mounts": {"data": "$NO_SUCH_VARIABLE/x"}}},
            ["data.mounts", "$NO_SUCH_VARIABLE", "no such variable"],
        ),
        ({"data": {"mounts": {"data": "relative"}}}, ["data.mounts", "must be an absolute path"]),
    ],
)
def test_what_is_wrong_is_named_with_its_place(content: dict, parts: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_config(content, "conf/base/compute.yml")
    for part in [*parts, "conf/base/compute.yml"]:
        assert part in str(caught.value)


def test_a_variable_that_only_sounds_like_a_secret_is_passed_on() -> None:
    names = ["TOKENIZERS_PARALLELISM", "GOOGLE_APPLICATION_CREDENTIALS", "HF_TOKEN_PATH", "MAX_TOKEN_COUNT", "KEYBOARD"]
    assert list(parse_config({"pass_on": names}, "conf/base/compute.yml").pass_on) == names


def test_the_most_exact_pattern_decides_the_studio(monkeypatch: pytest.MonkeyPatch) -> None:
    config = shipped("local", monkeypatch)
    assert config.task_of("tuning.run_study") == "tuning"
    assert config.task_of("tuning.train_arms") == "training"
    assert config.task_of("somewhere.else") is None


def test_every_gpu_node_of_the_project_has_a_studio_and_a_hint(project_pipelines, monkeypatch) -> None:
    config = shipped("studio_test", monkeypatch)
    nodes = [node.name for node in project_pipelines["__default__"].nodes if "gpu" in node.tags]
    assert nodes
    assert [node for node in nodes if config.task_of(node) is None] == []
