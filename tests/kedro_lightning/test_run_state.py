"""`kedro run --dry-run` and `--resume` of this project."""

from __future__ import annotations

import json
import os
import shutil
from unittest.mock import patch

import pytest
from kedro.pipeline import node, pipeline
from tests.kedro_lightning.conftest import ENTRY

from kedro_lightning.cli_costs import _chosen
from kedro_lightning.errors import ComputeError
from kedro_lightning.node_jobs import kedro_run
from kedro_lightning.run_state import RunState, StateFile, read_state, resume_options
from kedro_lightning.variables import RUN_ID_VARIABLE

COMPUTE = """
    tags: {quick: t4}
    tiers: {t4: {machines: [T4]}}
    studios: {all: {name: all, nodes: ["*"]}}
    nodes: {count: {minutes: 30}}
    """


def test_a_dry_run_shows_the_plan_and_makes_nothing(toy_project) -> None:
    toy_project.write("conf/base/compute.yml", COMPUTE)
    shown = toy_project.kedro("run", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "count  T4" in shown.output
    assert "1 node runs here" in shown.output
    assert "budget of a run: not set: nothing would start" in shown.output
    assert not (toy_project.path / "data").exists()
    only = toy_project.kedro("run", "--dry-run", "--pipelines=prep")
    assert "Nothing would be rented" in only.output


def test_a_dry_run_is_of_the_namespaces_and_the_configuration_that_were_given(toy_project) -> None:
    toy_project.write("conf/base/compute.yml", COMPUTE)
    elsewhere = toy_project.path / "elsewhere"
    shutil.copytree(toy_project.path / "conf", elsewhere)
    (elsewhere / "base/compute.yml").write_text("tags: {}\n")
    shown = toy_project.kedro("run", "--dry-run", f"--conf-source={elsewhere}")
    assert shown.exit_code == 0, shown.output
    assert "Nothing would be rented" in shown.output
    nodes = [node(len, "words", name, name=f"count_{name}", namespace=name) for name in ("one", "two")]
    with patch("kedro.framework.project.pipelines", {"__default__": pipeline(nodes)}):
        assert [each.namespace for each in _chosen({"namespaces": ["two"]}).nodes] == ["two"]


def test_a_dry_run_is_of_what_is_missing_and_knows_the_nodes_that_stay_here(toy_project) -> None:
    toy_project.write("conf/base/compute.yml", COMPUTE)
    stays = ("--runner=kedro_lightning.runner.StudioRunner", "--runner-params=here=count")
    assert "Nothing would be rented" in toy_project.kedro("run", "--dry-run", *stays).output
    toy_project.write("data/counts.json", "{}")
    assert "count  T4" in toy_project.kedro("run", "--dry-run", "--pipelines=report").output
    missing = toy_project.kedro("run", "--dry-run", "--pipelines=report", "--only-missing-outputs")
    assert "Nothing would be rented" in missing.output


def test_a_job_runs_its_nodes_whatever_defaults_the_project_has(toy_project) -> None:
    toy_project.write(".kedro.yml", "run: {tags: quick, runner-params: {here: [count]}, to-nodes: count}\n")
    done = toy_project.kedro(*kedro_run(["select"], None)[1:])
    assert done.exit_code == 0, done.output


def test_a_run_that_is_not_there_is_named_with_those_that_are(toy_project) -> None:
    StateFile(toy_project.path, RunState("2026-11-22T02.30.11.123Z")).write()
    shown = toy_project.kedro("run", "--resume=nothing")
    assert shown.exit_code == 1
    assert "There is no run 'nothing'" in shown.output
    assert "2026-11-22T02.30.11.123Z" in shown.output


def test_a_run_goes_on_with_the_options_it_was_started_with(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_ID_VARIABLE, "")
    asked = {"env": "qwen3_4b", "params": {"n": 1}, "only_missing_outputs": True}
    options = {**asked, "pipeline_names": ["tuning"], "tags": None, "runner": "x"}
    StateFile(tmp_path, RunState("run-1", options)).write()
    assert resume_options(tmp_path, "run-1") == {**asked, "pipelines": ["tuning"]}
    assert os.environ[RUN_ID_VARIABLE] == "run-1"


def test_a_finished_run_has_nothing_to_go_on_with(tmp_path) -> None:
    state = StateFile(tmp_path, RunState("run-1"))
    state.write(done=["a", "b"])
    state.write(done=["b"])
    state.write(job=ENTRY)
    assert read_state(tmp_path, "run-1").done == ["a", "b"]
    state.write(finished=True)
    with pytest.raises(ComputeError, match="run-1 is finished"):
        resume_options(tmp_path, "run-1")
    assert (tmp_path / ".kedro-compute/.gitignore").read_text() == "*\n"


def test_a_broken_file_is_named(tmp_path) -> None:
    state = StateFile(tmp_path, RunState("run-1"))
    state.write()
    state.path.write_text(json.dumps({"run_id": "run-1", "other": 1}))
    with pytest.raises(ComputeError, match=r"run-1\.json: cannot be read"):
        read_state(tmp_path, "run-1")
