"""Workers of a study as jobs."""

from __future__ import annotations

import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kedro_lightning.config import ComputeConfig
from kedro_lightning.errors import BudgetError, PreflightError
from kedro_lightning.platform.studios import StudiosApi
from spelling_transfer.study.lightning_backend import LightningTrialBackend

if TYPE_CHECKING:
    from spelling_transfer.study.backend import TrialBackend


def conforms(backend: LightningTrialBackend) -> TrialBackend:
    """Checked by mypy: the back end is what a study asks for."""
    return backend


@pytest.fixture
def project(platform, connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    (folder / "data/shared/study").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[tool.kedro]\n")
    monkeypatch.chdir(folder)
    StudiosApi(connection).create("spelling-tuning")
    platform.world.passed_on = (*platform.world.passed_on, "PYTHONPATH")
    return folder


@pytest.fixture
def backend(project: Path, monkeypatch: pytest.MonkeyPatch):
    settings = {
        "tags": {"gpu": "t4"},
        "tiers": {"t4": {"machines": ["T4"]}},
        "studios": {"tuning": {"name": "spelling-tuning"}},
        "budget": {"run_usd": 3},
        "data": {"mounts": {"data/shared": str(project / "data/shared")}},
        "secrets": ["DB_PASSWORD"],
    }
    made = LightningTrialBackend(project / "data/shared/study")
    config = ComputeConfig.model_validate({**settings, "secrets": []})
    monkeypatch.setattr("kedro_lightning.command_jobs.started", lambda: None)
    monkeypatch.setattr("kedro_lightning.command_jobs.load_project_config", lambda folder, env: made.config)
    made.config = config  # type: ignore[attr-defined]
    yield made
    made.stop(list(made._jobs._futures))


def wait_for(backend: LightningTrialBackend, worker: str, *states: str) -> str:
    end = time.monotonic() + 30
    while (state := backend.poll([worker])[worker]) not in states:
        assert time.monotonic() < end, state
        time.sleep(0.05)
    return state


def test_it_is_found_by_its_name() -> None:
    (entry,) = [entry for entry in entry_points(group="spelling_transfer.trial_backends") if entry.name == "lightning"]
    assert entry.load() is LightningTrialBackend


def test_a_worker_works_in_the_studys_folder_and_ends_finished(platform, backend, project: Path) -> None:
    folder = project / "data/shared/study"
    script = f"import os, pathlib; pathlib.Path({str(folder)!r}, 'seen').write_text(os.environ['THREADS'])"
    worker = backend.start(0, ["python", "-c", script], {"THREADS": "1"})
    assert wait_for(backend, worker, "finished", "failed") == "finished"
    assert (folder / "seen").read_text() == "1"
    assert str(folder) not in platform.jobs[0]["spec"]["command"].replace(str(project / "data/shared") + " ", "")


def test_the_same_worker_is_started_once(platform, backend) -> None:
    first = backend.start(0, ["sleep", "60"], {})
    assert backend.start(0, ["sleep", "60"], {}) == first
    wait_for(backend, first, "running")
    assert len(platform.jobs) == 1
    backend.stop([first])
    assert wait_for(backend, first, "gone") == "gone"
    assert platform.running == []


def test_a_worker_that_loses_its_machine_is_gone_and_one_that_errs_has_failed(platform, backend) -> None:
    lost, bad = backend.start(0, ["sleep", "60"], {}), backend.start(1, ["false"], {})
    assert wait_for(backend, bad, "failed", "gone") == "failed"
    wait_for(backend, lost, "running")
    job = next(job for job in platform.jobs if job["name"].startswith("worker-0"))
    platform.module.set_job(job, state="stopped")
    assert wait_for(backend, lost, "gone", "failed") == "gone"
    assert len(platform.jobs) == 2
    again = backend.start(0, ["true"], {})
    assert wait_for(backend, again, "finished", "failed") == "finished"


def test_workers_of_a_driver_that_is_gone_are_stopped_first(platform, backend, project: Path) -> None:
    tags = ["kedro-compute", "kedro-compute-run-study-study"]
    with platform.world.lock:
        left = platform.module.new_job("p-1", "worker-0-old", {"command": "sleep 60"}, tags)
    worker = backend.start(0, ["true"], {})
    wait_for(backend, worker, "finished")
    assert platform.world.jobs[left["id"]]["state"] in ("stop", "stopped")


@pytest.mark.parametrize(
    ("command", "env"),
    [
        (["python", "-m", "x", "postgresql://user:hunter2@host/db"], {}),
        (["python"], {"STORAGE": "postgresql://user:hunter2@host/db"}),
    ],
)
def test_a_password_is_never_sent(platform, backend, command, env) -> None:
    with pytest.raises(PreflightError) as caught:
        backend.start(0, command, env)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in platform.said()
    assert platform.jobs == []


def test_a_folder_of_this_machine_alone_is_refused(platform, backend, tmp_path: Path) -> None:
    backend._jobs._folder = tmp_path / "elsewhere"
    with pytest.raises(PreflightError, match="on this machine alone"):
        backend.start(0, ["true"], {})
    assert platform.jobs == []


def test_without_a_budget_nothing_is_started(platform, backend) -> None:
    backend.config = ComputeConfig.model_validate({**backend.config.model_dump(), "budget": {}})
    with pytest.raises(BudgetError, match=r"budget\.run_usd: not set"):
        backend.start(0, ["true"], {})
    assert platform.jobs == []
