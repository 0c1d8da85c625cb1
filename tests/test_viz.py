"""Kedro-Viz builds the graph of the project: five pipelines, a layer on each dataset, none of them loose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kedro.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
PIPELINES = {"local_prep", "token_analysis", "tuning", "evaluation", "deployment_check"}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``kedro viz build`` writes for the page, made in a copy of the project without its data."""
    project = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, project)
    for name in ("conf", "src", ".viz"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [str(Path(sys.executable).with_name("kedro")), "viz", "build"]
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, env={**os.environ, "DO_NOT_TRACK": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (project / "build" / "index.html").is_file()
    return dict(json.loads((project / "build" / "api" / "main").read_text()))


def test_the_pipelines_are_there_and_their_namespaces_fold(graph):
    assert {pipeline["id"] for pipeline in graph["pipelines"]} == {*PIPELINES, "__default__"}
    assert set(graph["modular_pipelines"]) == {"__root__", *PIPELINES}


def test_the_layers_stand_in_order(graph):
    # Kedro-Viz drops all layers where two of them depend on each other, seen with pipelines folded as well: what a
    # pipeline reads must not have a later layer than anything it leaves.
    assert graph["layers"][0] == "raw"
    assert graph["layers"][-1] == "reporting"


def test_no_dataset_is_loose_or_without_a_layer(graph):
    ends = {edge[end] for edge in graph["edges"] for end in ("source", "target")}
    data = [node for node in graph["nodes"] if node["type"] == "data"]
    assert [node["name"] for node in data if node["id"] not in ends] == []
    assert [node["name"] for node in data if node["layer"] is None] == []


def test_nodes_on_rented_machines_and_what_a_user_opens_stand_out(project_pipelines: dict[str, Pipeline]):
    styled = set(json.loads((ROOT / ".viz" / "styles.json").read_text()))
    everything = project_pipelines["__default__"]
    assert {node.name for node in everything.only_nodes_with_tags("gpu").nodes} <= styled
    assert {name for name in everything.datasets() if name.endswith("_page")} <= styled
    assert styled <= {node.name for node in everything.nodes} | everything.datasets()
