"""Where data come from: what a run records of each save, and how it is shown."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import node

from spelling_transfer.storage import JSONDataset
from spelling_transfer.storage.history import HistoryRecorder


@pytest.fixture
def project(toy_project: Any) -> Any:
    toy_project.write("src/toy/settings.py", "from spelling_transfer.settings import *\n")
    toy_project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: data\n")
    assert toy_project.kedro("run").exit_code == 0
    return toy_project


def history(project: Any, *arguments: str) -> dict[str, Any]:
    result = project.kedro("peek", *arguments, "--history", "--json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_a_save_is_recorded_with_who_when_and_from_what(project: Any):
    report = history(project, "counts")
    (entry,) = report["history"]
    words = (project.path / "data/words.parquet").read_bytes()
    assert report["saves"] == 1
    assert entry["node"] == "count"
    assert entry["inputs"]["words"] == {"size_bytes": len(words), "sha256": hashlib.sha256(words).hexdigest()}
    assert entry["is_there_now"] is True
    assert "@" in entry["by"]
    assert set(history(project, "words")["history"][0]["inputs"]) == {"params:selection", "params:profile"}


def test_other_parameters_are_another_origin_and_the_latest_comes_first(project: Any):
    assert project.kedro("run", "--params=selection.max_length=9").exit_code == 0
    latest, first = history(project, "words")["history"]
    assert (latest["is_there_now"], first["is_there_now"]) == (True, False)
    assert latest["inputs"]["params:selection"] != first["inputs"]["params:selection"]
    assert latest["inputs"]["params:profile"] == first["inputs"]["params:profile"]
    assert len(history(project, "words", "--rows=1")["history"]) == 1


def test_each_node_has_on_record_what_it_read_itself(tmp_path: Path):
    # As where a runner works at several nodes at once, and another run replaces what both of them read.
    files = {name: JSONDataset(filepath=str(tmp_path / f"{name}.json")) for name in ("words", "one", "two")}
    nodes = [node(lambda words: words, "words", name, name=name) for name in ("one", "two")]
    catalog, written = DataCatalog(files), []
    recorder = HistoryRecorder("run", None, catalog)
    for text, reader in zip(("before", "after"), nodes, strict=True):
        catalog.save("words", text)
        written.append(hashlib.sha256((tmp_path / "words.json").read_bytes()).hexdigest())
        recorder.note_input("words", reader)
    for saver in nodes:
        catalog.save(saver.name, "made")
        recorder.record(saver.name, saver)
    assert [entry["inputs"]["words"]["sha256"] for entry in recorder.entries] == written


def test_a_node_that_reads_elsewhere_has_its_inputs_on_record_as_they_were_when_its_job_began(tmp_path: Path):
    files = {name: JSONDataset(filepath=str(tmp_path / f"{name}.json")) for name in ("words", "one")}
    catalog, job = DataCatalog(files), node(lambda words: words, "words", "one", name="one")
    recorder = HistoryRecorder("run", None, catalog)
    catalog.save("words", "before")
    begun = hashlib.sha256((tmp_path / "words.json").read_bytes()).hexdigest()
    recorder.note_inputs(job)
    catalog.save("words", "after")  # by another run, while the job works
    recorder.note_inputs(job)
    catalog.save("one", "made")
    recorder.record("one", job)
    assert recorder.entries[0]["inputs"]["words"]["sha256"] == begun


def test_a_file_that_was_altered_since_is_not_what_a_run_left(project: Any):
    (project.path / "data/counts.json").write_text("{}")
    assert history(project, "counts")["history"][0]["is_there_now"] is False


def test_a_run_that_fails_leaves_the_history_of_what_it_saved(project: Any):
    assert project.kedro("run", "--pipelines=prep,stop").exit_code == 130
    assert history(project, "words")["saves"] == 1  # Ctrl-C is no error of a node: nothing is recorded
    project.write("data/words.parquet", "broken")
    assert project.kedro("run", "--pipelines=report").exit_code == 1
    assert history(project, "counts")["saves"] == 1


def test_the_printed_page_says_the_same(project: Any):
    output = project.kedro("peek", "counts", "--history").output
    for part in ("saved once on record", "(current)", "node count", "from     words"):
        assert part in output
    assert project.kedro("peek", "cuonts", "--history").exit_code == 2


def test_a_damaged_part_is_left_out(project: Any):
    (project.path / "data/.history/zz.json").write_text("{")
    assert history(project, "counts")["saves"] == 1


def test_nothing_on_record_is_no_error(toy_project: Any):
    toy_project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: data\n")
    assert history(toy_project, "words") == {"name": "words", "saves": 0, "history": []}


def test_a_run_of_chosen_nodes_or_one_that_failed_is_not_the_latest(project: Any, monkeypatch: pytest.MonkeyPatch):
    from spelling_transfer.storage.runs import read_latest

    project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: ${run_folder:data}\n")
    runs = (("one", (), "one"), ("two", ("--nodes=select",), "one"), ("three", ("--pipelines=prep,stop",), "one"))
    # What has changed are chosen nodes as well, and yet a run of its own.
    for name, chosen, latest in (*runs, ("four", ("--pipelines=prep",), "four"), ("five", ("--only-stale",), "five")):
        monkeypatch.setenv("SPELLING_TRANSFER_RUN", name)
        assert project.kedro("run", *chosen).exit_code == (130 if name == "three" else 0)
        assert read_latest(str(project.path / "data")) == latest
    # One folder for all runs is none of a run, wherever it lies.
    project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: data/mine/runs/here\n")
    assert project.kedro("run").exit_code == 0
    assert [path.name for path in (project.path / "data/mine").iterdir()] == ["runs"]


def test_the_history_is_kept_on_s3_too(project: Any, s3: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "one")
    project.write("conf/cloud/globals.yml", f"storage_root: ${{run_folder:{s3}}}\n")
    project.write(
        "conf/cloud/catalog.yml",
        "words:\n  type: spelling_transfer.storage.ParquetDataset\n  filepath: ${globals:storage_root}/words.parquet\n"
        "counts:\n  type: spelling_transfer.storage.JSONDataset\n  filepath: ${globals:storage_root}/counts.json\n",
    )
    assert project.kedro("run", "--env=cloud").exit_code == 0
    (entry,) = history(project, "counts", "--env=cloud")["history"]
    assert entry["inputs"]["words"]["etag"]
    assert entry["is_there_now"] is True


def test_what_is_the_same_is_known_as_the_same_and_a_changed_folder_is_not(tmp_path: Path):
    from kedro_datasets.text import TextDataset

    from spelling_transfer.storage.history import describe_content, describe_value

    assert describe_value({"a": 1, "b": [2]}) == describe_value({"b": [2], "a": 1}) != describe_value({"a": 1})
    file = tmp_path / "folder/file.txt"
    file.parent.mkdir()
    file.write_text("same size")
    dataset = TextDataset(filepath=str(file.parent))
    before = describe_content(dataset)
    assert before == describe_content(dataset)
    os.utime(file, (0, 0))
    assert describe_content(dataset) != before
    (file.parent / "manifest.json").write_text("{}")
    before = describe_content(dataset)
    (file.parent / ".DS_Store").write_text("left by a Mac that looked into it")
    assert before == describe_content(dataset)


def test_the_history_is_found_from_a_folder_of_the_project_too(project: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project.path / "src")
    assert project.kedro("run").exit_code == 0
    assert history(project, "counts")["saves"] == 2
    assert not (project.path / "src/data").exists()


def test_a_run_in_a_folder_of_the_project_is_the_latest_of_the_project(project: Any, monkeypatch: pytest.MonkeyPatch):
    project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: ${run_folder:data}\n")
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "one")
    monkeypatch.chdir(project.path / "src")
    assert project.kedro("run").exit_code == 0
    assert (project.path / "data/latest.json").is_file()


def test_the_history_travels_with_the_data(project: Any, tmp_path: Path):
    from spelling_transfer.storage.bundles.local_files import scan_folder

    assert any(file.name.startswith(".history/") for file in scan_folder(project.path / "data").files)
