"""The shipped configuration: every file is read, every value fits its model, every dataset has its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from spelling_transfer.configuration.loader import ProjectConfigLoader
from spelling_transfer.configuration.parameters import check_parameters
from spelling_transfer.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[1] / "conf"
ENVIRONMENTS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "base")
BY_A_HOOK = {"run_summary", "summary_page", "policy_report"}  # made at the end of a run, by no node
LAYERS = ["raw", "intermediate", "primary", "feature", "model_input", "models", "model_output", "reporting"]


def load(env: str, kind: str) -> dict[str, Any]:
    return ProjectConfigLoader(conf_source=str(CONF), env=env, **CONFIG_LOADER_ARGS)[kind]


@pytest.fixture(params=ENVIRONMENTS)
def env(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "named")  # else the bucket is asked for the latest run
    return str(request.param)


def test_parameters_fit_their_models_and_none_is_left_over(env, project_pipelines):
    check_parameters(load(env, "parameters"), project_pipelines)


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
    assert datasets | BY_A_HOOK == set(load(env, "catalog"))
