"""Logging a study to W&B: files read back with wandb's own reader, and a server on loopback."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spelling_transfer.storage.study_place import StudyPlace
from spelling_transfer.study.interfaces import StudySnapshot
from spelling_transfer.tracking import runs as module_runs
from spelling_transfer.tracking import watch
from spelling_transfer.tracking.runs import TrackingError, TrackingSettings
from spelling_transfer.tracking.watch import NothingToSyncError, SyncReport, WandbObserver, read_study, sync_study

from .conftest import KEY
from .fake_wandb import FakeRun, FakeWandb
from .studies import STEPS, study, trial

SETTINGS = TrackingSettings()
pytestmark = pytest.mark.usefixtures("nobody")
EVERY = list(range(1, STEPS + 1))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def show(folder: Path, *moments: StudySnapshot, settings: TrackingSettings = SETTINGS) -> None:
    """Shows an observer one moment after the other, each taken note of before the next."""
    observer = WandbObserver(settings, folder)
    for moment in moments:
        observer.update(moment)
        thread = observer._thread
        while thread is not None and thread.is_alive() and observer._seen is not moment:
            with observer._news:
                observer._news.wait(timeout=0.02)
    observer.close()
    if observer._thread is not None:
        observer._thread.join()


def by_trial(fake: FakeWandb) -> dict[int, FakeRun]:
    return {run.config["trial"]["value"]: run for run in fake.runs.values() if run.job_type == "trial"}


def steps(run: FakeRun) -> list[int]:
    return [row["_step"] for row in run.history]


def read_back(file: Path) -> list[dict[str, Any]]:
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def test_offline_each_finished_trial_is_one_file_that_wandb_reads_and_nothing_is_sent(
    tmp_path: Path, server: FakeWandb, monkeypatch: pytest.MonkeyPatch, adapter: Path
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    whole = study(trial(0, adapter=adapter), trial(1, "failed", 2), trial(2, "running", 3))
    show(tmp_path / "study", study(trial(0, "running", 3)), whole)
    assert server.requests == []
    assert [file.name for file in (tmp_path / "study").iterdir()] == ["wandb.json"]  # no log, no link to a cache
    files = sorted((tmp_path / "wandb").rglob("*.wandb"))
    runs = {}
    for file in files:
        records = read_back(file)
        (run,) = [record["run"] for record in records if record["type"] == "run"]
        runs[run["display_name"]] = run, records
    assert set(runs) == {"000 r=8 targets=q_proj,v_proj", "001 r=16 targets=q_proj,v_proj", "first_study (all trials)"}
    run, records = runs["000 r=8 targets=q_proj,v_proj"]
    assert (run["project"], run["run_group"]) == ("llm-spelling-transfer-learning", "first_study")
    assert run["config"]["update"]["lora"] == {"r": 8}
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [row["_step"] for row in rows] == EVERY
    assert rows[-1]["spelling/accuracy"] == pytest.approx(0.4)
    assert rows[-1]["transfer/score"] == pytest.approx(0.3)
    assert rows[-1]["train/loss"] == pytest.approx(1 / STEPS)
    codes = {
        name: [each["exit"].get("exit_code", 0) for each in kept if each["type"] == "exit"]
        for name, (_, kept) in runs.items()
    }
    assert codes["001 r=16 targets=q_proj,v_proj"] == [1]
    assert codes["000 r=8 targets=q_proj,v_proj"] == [0]
    tables = {file.name.partition("_")[0]: json.loads(file.read_text()) for file in tmp_path.rglob("*.table.json")}
    assert [row[0] for row in tables["trials"]["data"]] == [0, 1]


def test_offline_a_study_that_goes_on_adds_only_what_is_new(tmp_path: Path) -> None:
    show(tmp_path, study(trial(0), trial(1, "running", 2)))
    first = {file.name: file.stat().st_mtime_ns for file in tmp_path.rglob("*.wandb")}
    show(tmp_path, study(trial(0), trial(1)))
    second = {file.name: file.stat().st_mtime_ns for file in tmp_path.rglob("*.wandb")}
    assert len(first) == 2  # the trial that had ended, and the study
    assert len(second) == 3
    assert sum(second[name] == changed for name, changed in first.items()) == 1  # the study's is written anew
    show(tmp_path, study(trial(0), trial(1)))
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.rglob("*.wandb")} == second


def test_online_running_trials_are_there_and_each_row_once(
    tmp_path: Path,
    server: FakeWandb,
    adapter: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "of-another")  # as under `wandb agent`
    moments = [study(*(trial(n, "running", step) for n in (0, 3)), n_trials=2) for step in range(1, STEPS)]
    where = {"storage": "postgresql://me@db.internal/studies", "seed": 0}
    show(tmp_path, *moments, study(trial(0, adapter=adapter), trial(3, "pruned", 4), settings=where))
    runs = by_trial(server)
    assert (steps(runs[0]), steps(runs[3])) == (EVERY, [1, 2, 3, 4])
    assert {run.group for run in server.runs.values()} == {"first_study"}
    assert runs[0].name == "000 r=8 targets=q_proj,v_proj"
    assert runs[0].config["lora"]["value"] == {"r": 8}
    assert all("train/loss" in row for row in runs[0].history)
    assert ["transfer/score" in row for row in runs[0].history] == [False, True] * 3
    assert (runs[0].summary["state"], runs[3].summary["state"]) == ("complete", "pruned")
    assert runs[0].summary["transfer/score"] == pytest.approx(0.3)
    (whole,) = [run for run in server.runs.values() if run.job_type == "study"]
    assert {"trials", "transfer", "transfer/position_scatter_table", "transfer/count_scatter_table"} <= set(
        whole.history[0]
    )
    assert whole.config["seed"]["value"] == 0
    assert "storage" not in whole.config
    assert whole.summary["best/selection/score"] == pytest.approx(0.4)  # not that of the one that was pruned, 0.6
    adapters = [each for each in server.artifacts.values() if each["type"] == "adapter"]
    assert [(each["name"], each["committed"]) for each in adapters] == [("first_study-000", True)]
    assert server.stored[adapters[0]["files"]["adapter_model.safetensors"]] == b"weights"
    assert server.keys == {KEY}
    place = f"{server.url}/someone/llm-spelling-transfer-learning"
    assert sum(place in text for text in caplog.messages) == 1  # a user is told, once, that and where it is sent
    copies = [file for file in Path(os.environ["WANDB_CACHE_DIR"]).rglob("*") if file.is_file()]
    assert [file for file in copies if file.read_bytes() == b"weights"] == []  # none is left on the disk


def test_online_a_running_trial_is_sent_before_it_ends(tmp_path: Path, server: FakeWandb) -> None:
    observer = WandbObserver(SETTINGS, tmp_path)
    for step in (3, 5):
        moment = study(trial(0, "running", step))
        observer.update(moment)
        with observer._news:
            assert observer._news.wait_for(lambda: observer._seen is moment, timeout=120)  # noqa: B023
    # What was the last step a moment ago is complete now; the newest one may still grow.
    assert [run.name for run in server.runs.values()] == ["000 r=8 targets=q_proj,v_proj"]
    assert observer._delivery is not None
    assert observer._delivery._open[0]._next_step == 3
    observer.close()


def test_an_interrupted_study_goes_on_in_the_same_run(tmp_path: Path, server: FakeWandb) -> None:
    show(tmp_path, *(study(trial(0, "running", step)) for step in (2, 4, 5)))
    assert steps(by_trial(server)[0])[:3] == [1, 2, 3]
    show(tmp_path, study(trial(0, "running", 5)), study(trial(0)))
    assert steps(by_trial(server)[0]) == EVERY
    assert by_trial(server)[0].summary["state"] == "complete"
    assert len(by_trial(server)) == 1


def test_an_adapter_of_a_worker_elsewhere_is_fetched_from_the_place_of_the_study(
    tmp_path: Path, server: FakeWandb
) -> None:
    there, place = tmp_path / "there" / "0000", str(tmp_path / "place")
    (there / "adapter").mkdir(parents=True)
    (there / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    StudyPlace(place, "größe").discard(there)
    here = tmp_path / "trials" / "0000" / "adapter"
    trials = trial(0, adapter=here), trial(1, adapter=here.parents[1] / "0001")
    show(tmp_path, study(*trials, name="größe", settings={"place": place}))
    (sent,) = [each for each in server.artifacts.values() if each["type"] == "adapter"]  # the other was never kept
    assert server.stored[sent["files"]["adapter_model.safetensors"]] == b"weights"


def test_adapters_stay_where_they_are_if_told_to(tmp_path: Path, server: FakeWandb, adapter: Path) -> None:
    show(tmp_path, study(trial(0, adapter=adapter)), settings=TrackingSettings(log_adapters=False))
    assert [each for each in server.artifacts.values() if each["type"] == "adapter"] == []


def test_what_was_logged_offline_is_sent_later_and_never_twice(
    tmp_path: Path, server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = study(trial(0), trial(1, "failed", 3), trial(2, "running", 2))
    show(tmp_path, whole, settings=TrackingSettings(mode="offline"))
    assert server.requests == []
    assert sync_study(whole, SETTINGS, tmp_path) == SyncReport([0, 1], 0, 1, True)
    before = {name: list(run.lines) for name, run in server.runs.items()}
    n_requests = len(server.requests)
    assert sync_study(whole, SETTINGS, tmp_path) == SyncReport([], 2, 1, False)
    assert len(server.requests) == n_requests
    # Even if what was sent is forgotten, the server has these rows already.
    ledger = json.loads((tmp_path / "wandb.json").read_text())
    (tmp_path / "wandb.json").write_text(json.dumps({**ledger, "sent": {}}))
    sync_study(whole, SETTINGS, tmp_path)
    assert {name: run.lines for name, run in server.runs.items()} == before
    assert steps(by_trial(server)[1]) == [1, 2, 3]


def test_a_silent_server_costs_the_study_nothing_and_it_is_sent_when_the_server_is_back(
    tmp_path: Path, server: FakeWandb, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module_runs, "NETWORK_SECONDS", 1.0)
    server.silent.set()
    whole = study(trial(0), trial(1))
    show(tmp_path, whole)
    assert "kedro tune sync first_study" in caplog.text
    assert server.runs == {}
    assert len(list(tmp_path.rglob("offline-run-*/*.wandb"))) == 3  # two trials and the study, as if offline
    with pytest.raises(TrackingError, match="cannot be opened"):
        sync_study(whole, SETTINGS, tmp_path)
    server.silent.clear()
    monkeypatch.setattr(module_runs, "NETWORK_SECONDS", 30.0)
    assert sync_study(whole, SETTINGS, tmp_path).sent == [0, 1]
    assert {number: steps(run) for number, run in by_trial(server).items()} == {0: EVERY, 1: EVERY}


def test_a_server_that_was_away_for_a_while_gets_the_study_again(
    tmp_path: Path, server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver, calls = watch.Delivery.deliver, iter([True])

    def away_once(self: watch.Delivery, *study: StudySnapshot, live: bool) -> Any:
        if next(calls, False):
            raise TrackingError("away")
        return deliver(self, *study, live=live)

    monkeypatch.setattr(watch.Delivery, "deliver", away_once)
    monkeypatch.setattr(watch, "_AGAIN_SECONDS", 0.0)
    show(tmp_path, study(trial(0)), study(trial(0), trial(1)))
    assert {number: steps(run) for number, run in by_trial(server).items()} == {0: EVERY, 1: EVERY}


def test_the_end_of_a_study_does_not_wait_for_a_server_that_fell_silent(
    tmp_path: Path, server: FakeWandb, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "NETWORK_SECONDS", 0.2)
    monkeypatch.setattr(watch, "_OFFLINE_SECONDS", 0.2)
    server.silent.set()
    observer = WandbObserver(SETTINGS, tmp_path)
    observer.update(study(trial(0)))
    observer.close()
    assert "not all of the study has arrived" in caplog.text
    server.silent.clear()
    assert observer._thread is not None
    observer._thread.join()


def test_an_error_of_the_tracking_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "wandb.json").write_text("no JSON")
    with caplog.at_level(logging.WARNING):
        show(tmp_path, study(trial(0)))
    assert "wandb.json" in caplog.text
    assert list(tmp_path.rglob("*.wandb")) == []


@pytest.mark.parametrize("environment", [{}, {"WANDB_MODE": "disabled"}])
def test_disabled_means_nothing_at_all(
    tmp_path: Path, server: FakeWandb, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    show(tmp_path, study(trial(0)), settings=TrackingSettings(mode="auto" if environment else "disabled"))
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_the_key_is_in_no_file_and_no_message(
    tmp_path: Path, server: FakeWandb, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    show(tmp_path, study(trial(0), trial(1, "failed", 2)))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []
    hosts = [record["run"].get("host", "") for record in read_back(next(tmp_path.rglob("*.wandb"))) if "run" in record]
    assert hosts
    assert set(hosts) == {""}
    shown = capfd.readouterr()
    assert KEY not in caplog.text + shown.out + shown.err
    assert shown.out == ""


def test_sync_needs_somebody_who_is_signed_in(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="wandb login"):
        sync_study(study(trial(0)), SETTINGS, tmp_path)


@pytest.mark.parametrize("with_records", [False, True])
def test_a_study_that_is_not_there_is_named(tmp_path: Path, with_records: bool) -> None:
    if with_records:
        (tmp_path / "study.db").touch()
    with pytest.raises(NothingToSyncError, match="holds no study"):
        read_study("no_such_study", tmp_path)
