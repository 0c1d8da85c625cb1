"""The end of a run: with Kedro's hooks called one by one, and in a real ``kedro run`` of a small project."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node, pipeline
from kedro.runner import SequentialRunner
from tests.samples.runs import BEST, COMPARISON, CONFORMANCE, MANIFEST, SCORES, TRIALS, catalog

from spelling_transfer.hooks import RunSummaryHook
from spelling_transfer.pages.run_summary import MAX_LINES

if TYPE_CHECKING:
    from tests.conftest import ToyProject

__all__ = ["catalog"]

CATALOG = Path(__file__).parents[1] / "conf" / "base" / "catalog" / "summary.yml"


def _gives(value: Any) -> Callable[[], Any]:
    return lambda: value


def _fails() -> None:
    raise RuntimeError("the disk is on fire")


def _interrupts() -> None:
    raise KeyboardInterrupt


PREPARATION = pipeline([node(_gives(MANIFEST), None, "prep_manifest", name="write_manifest")])
TUNING = pipeline(
    [
        node(_gives(TRIALS), None, "trials", name="run_study"),
        node(_gives(BEST), None, "best_config", name="recommend"),
        node(_gives(go.Figure(go.Scatter(y=[1, 2]))), None, "tuning_curves_plot", name="plot"),
    ]
)
EVALUATION = pipeline(
    [
        node(_gives(SCORES), None, "scores", name="mark"),
        node(_gives(COMPARISON), None, "comparison", name="compare_arms"),
        node(_gives("<p>evaluation</p>"), None, "evaluation_page", name="report"),
    ]
)
DEPLOYMENT = pipeline([node(_gives(CONFORMANCE), None, "conformance", name="probe_policy")])


def _run(pipeline: Pipeline, catalog: DataCatalog, *, hook: RunSummaryHook | None = None, **run_params: Any) -> None:
    """Runs a pipeline as Kedro's session does."""
    hooks = _create_hook_manager()
    hooks.register(hook or RunSummaryHook())
    params = {
        "run_id": "2026-01-01T00.00.00",
        "pipeline_names": ["some"],
        "env": "base",
        "node_names": [],
        **run_params,
    }
    hooks.hook.before_pipeline_run(run_params=params, pipeline=pipeline, catalog=catalog)
    try:
        only_missing = params.get("only_missing_outputs", False)
        result = SequentialRunner().run(pipeline, catalog, hooks, only_missing_outputs=only_missing)
    except Exception as error:
        hooks.hook.on_pipeline_error(error=error, run_params=params, pipeline=pipeline, catalog=catalog)
        raise
    hooks.hook.after_pipeline_run(run_params=params, run_result=result, pipeline=pipeline, catalog=catalog)


def _summary(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "08_reporting" / "run_summary.json").read_text())


def test_a_whole_run_ends_in_ten_lines_or_fewer(catalog: DataCatalog, capsys: pytest.CaptureFixture[str]) -> None:
    _run(PREPARATION + TUNING + EVALUATION + DEPLOYMENT, catalog)
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) <= MAX_LINES == 10
    assert lines[0].startswith("transfer  There is no verdict yet")
    assert lines[1].startswith("open      ")
    text = "\n".join(lines)
    assert "prepared  37,064 words, 23,378 examples" in text
    assert "tiny-qwen3 with LoRA, best of 3 trials: r 16, learning_rate 0.003" in text
    assert "spelling  53.0% → 79.0%, +26.0 points (+22.0 to +30.0): improved" in text
    assert "position  30.0% → 29.0%, −1.0 points (−4.0 to +2.0): no clear change" in text
    assert "count     57.0% → 50.0%, −7.0 points (−11.0 to −3.0): got worse" in text
    assert "endpoint  passed all 2 checks of non-thinking mode" in text
    assert "transfer  There is no verdict yet" in text
    assert "index.html" in text


def test_the_document_holds_scores_with_intervals_pages_and_seconds(catalog: DataCatalog, tmp_path: Path) -> None:
    _run(TUNING + EVALUATION + DEPLOYMENT, catalog)
    summary = _summary(tmp_path)
    assert (summary["status"], summary["run_id"]) == ("finished", "2026-01-01T00.00.00")
    assert len(summary["scores"]) == 6
    assert {"arm", "task", "n", "exact_match", "low", "high"} <= set(summary["scores"][0])
    assert [row["task"] for row in summary["comparison"]] == ["spelling", "position", "count", "all"]
    assert summary["comparison"][-1]["p_value"] is None
    assert summary["trained"]["n_trials"] == 3
    assert summary["endpoint"] == {"obeys": True, "n_checks": 2, "failed": []}
    assert summary["pages"] == {"evaluation_page": "evaluation/index.html"}
    assert len(summary["parameters_sha256"]) == 64
    assert set(summary["seconds_by_node"]) == {node.name for node in (TUNING + EVALUATION + DEPLOYMENT).nodes}
    assert all(0 <= seconds <= summary["seconds"] for seconds in summary["seconds_by_node"].values())


def test_the_page_links_to_the_others_and_shows_the_chosen_figures(catalog: DataCatalog, tmp_path: Path) -> None:
    catalog["tuning_transfer_plot"].save(go.Figure())
    _run(TUNING + EVALUATION + DEPLOYMENT, catalog)
    page = (tmp_path / "08_reporting" / "index.html").read_text()
    assert 'href="evaluation/index.html"' in page
    assert "Spelling rose" in page
    assert "Learning curves" in page
    assert page.count("data-plot=") == 1
    assert "earlier run" not in page


def test_a_run_of_one_pipeline_speaks_of_that_one(
    catalog: DataCatalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(EVALUATION, catalog)
    capsys.readouterr()
    _run(DEPLOYMENT, catalog)
    printed = capsys.readouterr().out
    assert "endpoint" in printed
    assert "spelling" not in printed
    assert _summary(tmp_path)["from_this_run"] == {"scores": False, "comparison": False, "conformance": True}
    page = (tmp_path / "08_reporting" / "index.html").read_text()
    assert "This comparison is from an earlier run." in page


def test_a_run_that_had_nothing_to_make_claims_nothing(
    catalog: DataCatalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = pipeline([*EVALUATION.nodes, *DEPLOYMENT.nodes])
    _run(made, catalog)
    capsys.readouterr()
    _run(made, catalog, only_missing_outputs=True)
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines] == ["open", "took"]
    assert not any(_summary(tmp_path)["from_this_run"].values())
    page = (tmp_path / "08_reporting" / "index.html").read_text()
    assert "This comparison is from an earlier run." in page


def test_an_endpoint_that_fails_a_check_is_said_to_fail(
    catalog: DataCatalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [{**check, "passed": place > 0} for place, check in enumerate(CONFORMANCE["checks"])]
    _run(pipeline([node(_gives({"obeys": False, "checks": checks}), None, "conformance", name="probe")]), catalog)
    assert "FAILED 1 of 2 checks of non-thinking mode (refuses/enable-thinking)" in capsys.readouterr().out
    assert _summary(tmp_path)["endpoint"] == {"obeys": False, "n_checks": 2, "failed": ["refuses/enable-thinking"]}


def test_the_same_results_give_the_same_document_times_aside(catalog: DataCatalog, tmp_path: Path) -> None:
    documents = []
    for _ in range(2):
        _run(TUNING + EVALUATION, catalog)
        documents.append({k: v for k, v in _summary(tmp_path).items() if k not in _TIMES})
    assert documents[0] == documents[1]


_TIMES = ("started_at", "seconds", "seconds_by_node")


def test_a_run_that_fails_says_how_far_it_came(
    catalog: DataCatalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match="on fire"):
        _run(TUNING + pipeline([node(_fails, None, "scores", name="z_mark")]), catalog)
    summary = _summary(tmp_path)
    assert (summary["status"], summary["error"]) == ("failed", "the disk is on fire")
    assert summary["from_this_run"] == {"trials": True, "best_config": True}
    assert "The run stopped early: the disk is on fire" in (tmp_path / "08_reporting" / "index.html").read_text()
    assert capsys.readouterr().out == ""


def test_a_run_of_single_nodes_after_an_interrupted_one_in_the_same_process_leaves_no_summary(
    catalog: DataCatalog, tmp_path: Path
) -> None:
    hook = RunSummaryHook()
    with pytest.raises(KeyboardInterrupt):
        _run(pipeline([node(_interrupts, None, "trials", name="run_study")]), catalog, hook=hook)
    _run(EVALUATION, catalog, hook=hook, node_names=["mark", "compare_arms", "report"])
    assert not (tmp_path / "08_reporting" / "run_summary.json").exists()


def test_a_summary_that_cannot_be_written_does_not_hide_the_first_error(catalog: DataCatalog, tmp_path: Path) -> None:
    (tmp_path / "08_reporting").write_text("a file where the folder should be")
    with pytest.raises(RuntimeError, match="on fire"):
        _run(pipeline([node(_fails, None, "trials", name="train")]), catalog)


def test_a_project_without_the_entries_runs_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    _run(pipeline([node(_gives(pd.DataFrame({"a": [1]})), None, "other", name="other")]), DataCatalog())
    assert "took" in capsys.readouterr().out


def test_importing_the_hook_imports_nothing_heavy() -> None:
    code = (
        "import sys, spelling_transfer.hooks; "
        "print([name for name in ('torch', 'pandas', 'plotly', 'jinja2', 'transformers') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.fixture
def project(toy_project: ToyProject) -> ToyProject:
    toy_project.write("conf/base/catalog/summary.yml", CATALOG.read_text())
    toy_project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: data\n")
    toy_project.write(
        "src/toy/settings.py",
        "from spelling_transfer.settings import *\n"
        "from spelling_transfer.hooks import RunSummaryHook\n"
        "HOOKS = (RunSummaryHook(), policy_hook)\n",
    )
    return toy_project


def test_a_kedro_run_ends_with_its_page_and_writes_its_summary(project: ToyProject) -> None:
    result = project.kedro("run")
    assert result.exit_code == 0, result.output
    assert "open      data/08_reporting/index.html" in result.output
    summary = _summary(project.path / "data")
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
        hashes.append(_summary(project.path / "data")["parameters_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_kedro_run_that_fails_keeps_its_own_error_and_leaves_a_summary(project: ToyProject) -> None:
    project.write("src/toy/nodes.py", (project.path / "src/toy/nodes.py").read_text().replace("== 0", "> 0"))
    result = project.kedro("run")
    assert result.exit_code == 1
    assert "ZeroDivisionError: a bug in a node" in result.stderr
    summary = _summary(project.path / "data")
    assert (summary["status"], summary["error"]) == ("failed", "a bug in a node")


def test_a_kedro_run_of_single_nodes_says_and_writes_nothing(project: ToyProject) -> None:
    result = project.kedro("run", "--nodes=select")
    assert result.exit_code == 0, result.output
    assert "open" not in result.output
    assert not (project.path / "data/08_reporting").exists()


def test_a_dataset_that_cannot_be_read_is_named_and_fails_no_run(
    catalog: DataCatalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(PREPARATION + EVALUATION, catalog)
    file = Path(str(catalog["prep_manifest"]._describe()["filepath"]))
    file.write_text("{")
    capsys.readouterr()
    _run(DEPLOYMENT, catalog)
    assert "unread    prep_manifest: " in capsys.readouterr().out
    assert set(_summary(tmp_path)["unreadable"]) == {"prep_manifest"}
    page = (tmp_path / "08_reporting" / "index.html").read_text()
    assert "prep_manifest could not be read" in page
    assert "This comparison is from an earlier run." in page


def test_a_summary_that_cannot_be_written_fails_no_run(
    catalog: DataCatalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "08_reporting").write_text("a file where the folder should be")
    _run(pipeline([node(_gives(1), None, "other", name="other")]), catalog)
    assert "The run has finished, but its summary could not be written" in caplog.text


_STUDY = """
from kedro.pipeline import node, pipeline


def choose(settings: dict) -> dict:
    return {"finished": settings["trials"], "config": {}}


def describe(settings: dict) -> dict:
    return {"counts": {"words_kept": settings["trials"], "examples": {}}}


def train(best: dict) -> dict:
    if best["finished"] == 4:
        raise RuntimeError("interrupted")
    return {"checks": [{"id": "a", "requirement": "b", "passed": True}]}


def register_pipelines():
    tuning = pipeline([
        node(describe, "params:few", "prep_manifest", name="describe"),
        node(choose, "params:many", "best_config", name="choose"),
        node(train, "best_config", "conformance", name="train"),
    ])
    return {"tuning": tuning, "__default__": tuning}
"""


def test_what_rests_on_an_earlier_study_is_said_to_be_old(toy_project: ToyProject) -> None:
    names = ("prep_manifest", "best_config", "conformance")
    entry = "{{type: spelling_transfer.storage.JSONDataset, filepath: data/{}.json}}\n"
    toy_project.write("conf/base/catalog/study.yml", "".join(f"{name}: {entry.format(name)}" for name in names))
    toy_project.write("conf/base/catalog/summary.yml", CATALOG.read_text())
    toy_project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: data\n")
    toy_project.write("conf/base/parameters/prep.yml", "few: {trials: 3}\nmany: {trials: 3}\n")
    toy_project.write("src/toy/settings.py", "from spelling_transfer.settings import *\n")
    toy_project.write("src/toy/pipeline_registry.py", _STUDY)
    assert "old" not in toy_project.kedro("run").output
    # The study goes on with four trials and is interrupted: the endpoint is still that of the best of three.
    toy_project.write("conf/base/parameters/prep.yml", "few: {trials: 4}\nmany: {trials: 4}\n")
    assert toy_project.kedro("run").exit_code == 1
    toy_project.write("conf/base/parameters/prep.yml", "few: {trials: 5}\nmany: {trials: 4}\n")
    result = toy_project.kedro("run", "--from-nodes=choose", "--to-nodes=choose")
    assert result.exit_code == 0, result.output
    summary = _summary(toy_project.path / "data")
    assert summary["old"] == {"prep_manifest": "params:few changed", "conformance": "best_config changed"}
    page = (toy_project.path / "data/08_reporting/index.html").read_text()
    assert "This is from an earlier run and is old (best_config changed)." in page
    assert "(old" not in result.output  # what this run made is as it would be now
    toy_project.write("conf/base/parameters/prep.yml", "few: {trials: 5}\nmany: {trials: 5}\n")
    (toy_project.path / "data/best_config.json").write_text('{"finished": 3, "config": {}}')
    result = toy_project.kedro("run", "--from-nodes=train")
    assert result.exit_code == 0, result.output
    assert "passed all 1 checks of non-thinking mode (old: follows choose)" in result.output


def test_kedro_viz_knows_of_runs_of_parts_beside_what_ran_before(toy_project: ToyProject) -> None:
    toy_project.write("src/toy/settings.py", "from spelling_transfer.settings import *\n")

    def status() -> dict[str, str]:
        events = json.loads((toy_project.path / ".viz/kedro_pipeline_events.json").read_text())
        assert next(event["event"] for event in events if "pipeline" in event["event"]) == "before_pipeline_run"
        return {event["node"]: event["event"] for event in events if event.get("node")}

    assert toy_project.kedro("run", "--pipelines=prep").exit_code == 0
    assert status() == {"select": "after_node_run"}
    assert toy_project.kedro("run", "--nodes=count").exit_code == 0
    assert status() == {"select": "after_node_run", "count": "after_node_run"}
    nodes = toy_project.path / "src/toy/nodes.py"
    nodes.write_text(nodes.read_text().replace("== 0", "> 0"))
    assert toy_project.kedro("run", "--tags=quick").exit_code == 1
    assert status()["select"] == "after_node_run"
    assert status()["count"].startswith("on_")
