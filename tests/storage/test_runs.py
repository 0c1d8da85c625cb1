"""Runs kept apart on a store, and the pointer to the latest."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from spelling_transfer.storage.runs import RunNameError, move_latest, read_latest, run_folder


@pytest.fixture(autouse=True)
def no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set and removed again, so that whatever the code sets is undone.
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "")


def other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "")


def test_a_run_gets_a_folder_and_keeps_it(tmp_path: Path):
    folder = run_folder(f"{tmp_path}/")
    assert folder.startswith(f"{tmp_path}/runs/2")
    assert run_folder(str(tmp_path)) == folder
    assert not (tmp_path / "latest.json").exists()


@pytest.mark.parametrize("root", ["~/data", "$HOME/data"])
def test_a_root_in_the_home_keeps_its_latest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str):
    monkeypatch.setenv("HOME", str(tmp_path))
    first = run_folder(root)
    assert first.startswith(f"{tmp_path}/data/runs/")
    move_latest(first)
    other_process(monkeypatch)
    assert run_folder(root) == first


def test_the_next_process_goes_on_with_the_latest_run_that_ended_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = run_folder(str(tmp_path))
    move_latest(first)
    other_process(monkeypatch)
    assert run_folder(str(tmp_path)) == first
    monkeypatch.setenv("SPELLING_TRANSFER_RUN", "new")
    second = run_folder(str(tmp_path))
    assert second != first
    assert read_latest(str(tmp_path)) == Path(first).name
    move_latest(second)
    assert read_latest(str(tmp_path)) == Path(second).name


def test_a_pointer_on_s3_is_moved_and_read(s3: str):
    assert read_latest(s3) is None
    move_latest(f"{s3}/runs/lr-study")
    assert read_latest(s3) == "lr-study"


@pytest.mark.parametrize("name", ["../other", "a/b", "", " ", "-x", "x" * 101, "ü", ".", "..", "x.", ".x", "x\n"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    if name:
        monkeypatch.setenv("SPELLING_TRANSFER_RUN", name)
    (tmp_path / "latest.json").write_text(json.dumps({"run": name}))
    with pytest.raises(RunNameError, match="SPELLING_TRANSFER_RUN"):
        run_folder(str(tmp_path))


def test_a_damaged_pointer_is_one_clear_error(tmp_path: Path):
    (tmp_path / "latest.json").write_text("{")
    with pytest.raises(RunNameError, match="not a readable pointer"):
        run_folder(str(tmp_path))


def test_a_bucket_that_is_not_there_is_said_before_a_run_begins(s3: str):
    with pytest.raises(RunNameError, match="the bucket does not exist"):
        run_folder("s3://no-such-bucket/study")


def named_in(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Counter[str]:
    """Counts how often runs are named; the first command of a process takes the log away from pytest."""
    text = caplog.text or capfd.readouterr().err
    caplog.clear()
    return Counter(re.findall(r"(?<=SPELLING_TRANSFER_RUN=)[\w-]+", text))


def test_a_project_on_s3_keeps_its_data_there_and_moves_the_pointer_last(
    toy_project, s3: str, s3_server, monkeypatch, caplog, capfd
):
    toy_project.write("src/toy/settings.py", "from spelling_transfer.settings import *\n")
    toy_project.write("conf/cloud/globals.yml", f"storage_root: ${{run_folder:{s3}}}\n")
    for name, kind in (("words", "ParquetDataset"), ("counts", "JSONDataset")):
        toy_project.write(
            f"conf/base/catalog/{'prep' if name == 'words' else 'report'}.yml",
            f"{name}:\n  type: spelling_transfer.storage.{kind}\n"
            f"  filepath: ${{globals:storage_root}}/{name}.{'parquet' if name == 'words' else 'json'}\n",
        )
    toy_project.write("conf/base/globals.yml", "model_profile: small\nstorage_root: data\n")
    keys = s3_server.environment()
    toy_project.write(
        "conf/local/credentials.yml",
        f"s3: {{key: {keys['AWS_ACCESS_KEY_ID']}, secret: {keys['AWS_SECRET_ACCESS_KEY']}, "
        f"endpoint_url: '{keys['AWS_ENDPOINT_URL_S3']}'}}\n",
    )
    for name in keys:
        if name not in {"AWS_EC2_METADATA_DISABLED", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"}:
            monkeypatch.delenv(name)
    failed = toy_project.kedro("run", "--env=cloud", "--pipelines=prep,stop")
    assert failed.exit_code == 130, failed.output
    assert read_latest(s3) is None
    # Its name is said: without it, the next process would begin another run.
    assert named_in(caplog, capfd) == {os.environ["SPELLING_TRANSFER_RUN"]: 1}
    assert toy_project.kedro("peek", "words", "--env=cloud").exit_code == 0
    other_process(monkeypatch)
    assert toy_project.kedro("run", "--env=cloud", "--pipelines=report").exit_code == 1  # without words
    assert named_in(caplog, capfd) == {os.environ["SPELLING_TRANSFER_RUN"]: 2}  # at the start, and when it failed
    other_process(monkeypatch)
    result = toy_project.kedro("run", "--env=cloud")
    assert result.exit_code == 0, result.output
    name = read_latest(s3)
    assert name is not None
    other_process(monkeypatch)
    report = json.loads(toy_project.kedro("peek", "counts", "--env=cloud", "--json").stdout)
    assert report["path"] == f"{s3}/runs/{name}/counts.json"
    assert not (toy_project.path / "data").exists()
