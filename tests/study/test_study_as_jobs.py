"""A study whose workers are jobs: real workers, one PostgreSQL, each planned trial once whatever is taken away."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import light_study
import pandas as pd
import pytest
from kedro.config import OmegaConfigLoader
from light_study import LightStudy, light_defaults, light_settings
from local_postgres import LocalPostgres, find_binaries

from kedro_lightning.hooks import RunContext, compute_hook
from kedro_lightning.platform.studios import StudiosApi
from spelling_transfer.study.config import StudyConfigError
from spelling_transfer.study.run import run_study

pytestmark = pytest.mark.skipif(
    find_binaries() is None, reason="PostgreSQL is not installed (Debian: apt install postgresql)"
)


@pytest.fixture(scope="module")
def database() -> Iterator[LocalPostgres]:
    server = LocalPostgres()
    yield server
    server.close()


@pytest.fixture
def folder(platform, connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a study on a mount, in a project of which the platform has the Studio."""
    shared = tmp_path / "project" / "data" / "shared"
    shared.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").write_text("[tool.kedro]\n")
    monkeypatch.chdir(tmp_path / "project")
    StudiosApi(connection).create("spelling-tuning")
    platform.world.extra_env = {
        "PYTHONPATH": os.pathsep.join([str(Path(light_study.__file__).parent), os.environ.get("PYTHONPATH", "")])
    }
    settings = {
        "tags": {"gpu": "t4"},
        "tiers": {"t4": {"machines": ["T4"], "interruptible": True}},
        "studios": {"tuning": {"name": "spelling-tuning"}},
        "budget": {"run_usd": 3},
        "data": {"mounts": {"data/shared": str(shared)}},
    }
    conf = tmp_path / "project" / "conf"
    (conf / "base").mkdir(parents=True)
    (conf / "base" / "compute.yml").write_text(json.dumps(settings))
    loader = OmegaConfigLoader(str(conf), base_env="base", default_run_env="base")
    monkeypatch.setattr(compute_hook, "context", RunContext(tmp_path / "project", loader))
    return shared / "study"


def take_away_one_machine(platform, folder: Path) -> None:
    """Takes the machine of the worker whose trial has come furthest, once a checkpoint is there to go on from."""
    while True:
        for job in platform.jobs:
            logs = [log.read_text() for log in folder.glob("trials/*/steps.log")]
            if job["state"] == "running" and any("kept" in log for log in logs):
                platform.module.set_job(job, state="stopped")
                return
        time.sleep(0.05)


def test_each_planned_trial_is_run_once_though_a_machine_is_taken_away(platform, folder: Path, database) -> None:
    settings = light_settings(name="rented", backend="lightning", workers=2, n_trials=4, storage=database.url)
    thief = threading.Thread(target=take_away_one_machine, args=(platform, folder), daemon=True)
    thief.start()
    found = run_study(settings, light_defaults(), LightStudy(step_seconds=0.05), folder=folder)
    assert not thief.is_alive()
    undisturbed = run_study(light_settings(n_trials=4), light_defaults(), LightStudy())
    pd.testing.assert_frame_equal(found.trials, undisturbed.trials)
    pd.testing.assert_frame_equal(found.curves, undisturbed.curves)
    assert found.base == undisturbed.base
    assert len(platform.jobs) >= 3  # two workers, and one in place of that which was lost
    assert platform.running == []
    for number in range(4):
        # Steps after a checkpoint may be done twice, never left out; no trial is done from its start by two workers.
        lines = (folder / f"trials/{number:04d}/steps.log").read_text().splitlines()
        steps = [int(line) for line in lines if line.isdigit()]
        assert sorted(set(steps)) == list(range(1, 31))
        assert lines.count("from 0") == 1 or "kept 7" not in lines[: lines.index("from 0", 1)]
    again = run_study(settings, light_defaults(), LightStudy(), folder=folder)
    pd.testing.assert_frame_equal(again.trials, found.trials)


def test_a_file_that_machines_cannot_share_is_refused_before_anything_is_rented(platform, folder: Path) -> None:
    with pytest.raises(StudyConfigError, match=r"study\.storage: a file cannot be shared.*PostgreSQL"):
        run_study(light_settings(backend="lightning"), light_defaults(), LightStudy(), folder=folder)
    assert platform.jobs == []
