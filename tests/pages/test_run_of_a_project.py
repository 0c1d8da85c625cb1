"""The hook in a real ``kedro run`` of a small project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import ToyProject

CATALOG = Path(__file__).parents[2] / "conf" / "base" / "catalog" / "summary.yml"


@pytest.fixture
def project(toy_project: ToyProject) -> ToyProject:
    toy_project.write("conf/base/catalog/summary.yml", CATALOG.read_text())
    toy_project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: data\n")
    toy_project.write(
        "src/toy/settings.py",
        "from spelling_transfer.settings import *\n"
        "from spelling_transfer.pages.run_summary import RunSummaryHook\n"
        "HOOKS = (RunSummaryHook(),)\n",
    )
    return toy_project


def _summary(project: ToyProject) -> dict[str, object]:
    return json.loads((project.path / "data/08_reporting/run_summary.json").read_text())


def test_a_run_ends_with_its_page_and_writes_its_summary(project: ToyProject) -> None:
    result = project.kedro("run")
    assert result.exit_code == 0, result.output
    assert "open      data/08_reporting/index.html" in result.output
    summary = _summary(project)
    assert summary["status"] == "finished"
    assert set(summary["seconds_by_node"]) == {"select", "count"}
    assert (project.path / "data/08_reporting/index.html").read_text().startswith("<!DOCTYPE html>")


def test_the_page_shows_the_evidence_of_the_policy_of_this_very_run(project: ToyProject) -> None:
    project.write("conf/base/catalog/policy.yml", (CATALOG.parent / "policy.yml").read_text())
    result = project.kedro("run")
    assert result.exit_code == 0, result.output
    page = (project.path / "data/08_reporting/index.html").read_text()
    assert "Was non-thinking mode kept?" in page
    assert "Yes: 0 violations in this run" in page
    report = json.loads((project.path / "data/08_reporting/policy_report.json").read_text())
    assert len(report["rules"]) == 14
    assert all(rule["id"] in page for rule in report["rules"])


def test_the_hash_follows_the_parameters_and_not_the_run(project: ToyProject) -> None:
    # What the file leaves to a default is filled in for the pipelines that are run alone.
    parameters = "selection: {}\nprofile: {extends: 'models/${globals:model_profile}'}\n"
    project.write("conf/base/parameters/prep.yml", parameters)
    hashes = []
    for arguments in ([], ["--pipelines=report"], ["--params=selection.max_length=9"]):
        assert project.kedro("run", *arguments).exit_code == 0
        hashes.append(_summary(project)["parameters_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_run_that_fails_keeps_its_own_error_and_leaves_a_summary(project: ToyProject) -> None:
    project.write("src/toy/nodes.py", (project.path / "src/toy/nodes.py").read_text().replace("== 0", "> 0"))
    result = project.kedro("run")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)
    summary = _summary(project)
    assert (summary["status"], summary["error"]) == ("failed", "a bug in a node")


def test_a_run_of_single_nodes_says_and_writes_nothing(project: ToyProject) -> None:
    result = project.kedro("run", "--nodes=select")
    assert result.exit_code == 0, result.output
    assert "open" not in result.output
    assert not (project.path / "data/08_reporting").exists()
