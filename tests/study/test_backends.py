"""Workers as processes and as jobs: started once, distinguished when they end, gone when their parent is."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from lightning_platform import until
from tests.kedro_lightning.test_command_jobs import project  # noqa: F401  (a fixture)

from spelling_transfer.storage.study_jobs import LightningTrialBackend
from spelling_transfer.study.backends import LocalBackend, WorkerPool
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.interfaces import WorkerState
from spelling_transfer.study.machine import fitting_workers, n_cores
from spelling_transfer.study.plan import StudyPlan

_SLEEP = ["python", "-c", "import time; time.sleep(60)"]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalBackend]:
    backend = LocalBackend(tmp_path)
    yield backend
    backend.stop(list(backend._processes))


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def is_gone(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def ended(backend: LocalBackend, worker: str) -> str:
    assert wait_until(lambda: backend.poll([worker])[worker] != "running")
    return backend.poll([worker])[worker]


def test_the_ways_to_end_are_distinguished(backend: LocalBackend, tmp_path: Path) -> None:
    well = backend.start(0, ["python", "-c", "import os; print(os.environ['NOTE'])"], {"NOTE": "heard"})
    badly = backend.start(1, ["python", "-c", "raise SystemExit(3)"], {})
    killed = backend.start(2, _SLEEP, {})
    assert backend.poll([killed]) == {killed: "running"}
    os.kill(int(killed), signal.SIGKILL)
    assert [ended(backend, each) for each in (well, badly, killed)] == ["finished", "failed", "gone"]
    assert (tmp_path / "workers" / "worker-0.log").read_text() == "heard\n"


def test_a_worker_that_runs_is_not_started_twice_and_stopping_is_final(backend: LocalBackend) -> None:
    first = backend.start(0, _SLEEP, {})
    assert backend.start(0, _SLEEP, {}) == first
    backend.stop([first])
    assert not psutil.pid_exists(int(first))
    backend.stop([first])  # no error
    assert backend.start(0, _SLEEP, {}) != first


def test_workers_end_with_their_parent_however_it_ends(tmp_path: Path) -> None:
    waits = "import os; os.read(0, 1)"  # as a worker's own thread does
    program = (
        "import sys, time; from pathlib import Path; from spelling_transfer.study.backends import LocalBackend\n"
        f"print(LocalBackend(Path(sys.argv[1])).start(0, ['python', '-c', {waits!r}], {{}}), flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert psutil.pid_exists(worker)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: is_gone(worker))


def test_each_worker_gets_a_gpu_of_its_own(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: A'\necho 'GPU 1: B'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert fitting_workers(threads=1, model_bytes=0) == 2
    shown = ["python", "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"]
    for worker in range(2):
        assert ended(backend, backend.start(worker, shown, {})) == "finished"
        assert (tmp_path / "workers" / f"worker-{worker}.log").read_text() == f"{worker}\n"
    for visible, workers in (("1", 1), ("1,GPU-ab,MIG-cd", 3), ("0,-1,1", 1)):  # a part of them, as a cluster grants it
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert fitting_workers(threads=1, model_bytes=0) == workers
    for visible in ("", "-1", "NoDevFiles"):  # all are hidden
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert fitting_workers(threads=n_cores() + 1, model_bytes=0) == 1
        assert ended(backend, backend.start(2, shown, {})) == "finished"
        assert (tmp_path / "workers" / "worker-2.log").read_text().splitlines()[-1] == visible


def test_workers_share_the_gpus_they_are_given_where_nothing_lists_them(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)  # a container without nvidia-smi
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    shown = [sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"]
    for worker, device in ((0, "2"), (1, "5"), (2, "2")):
        assert ended(backend, backend.start(worker, shown, {})) == "finished"
        assert (tmp_path / "workers" / f"worker-{worker}.log").read_text() == f"{device}\n"


def test_workers_fit_cores_and_memory() -> None:
    assert 1 <= fitting_workers(threads=1, model_bytes=0) <= n_cores()
    assert fitting_workers(threads=n_cores(), model_bytes=0) == 1
    assert fitting_workers(threads=1, model_bytes=psutil.virtual_memory().total) == 1


class Machines:
    """A back end that notes what it is asked for."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.stopped: list[str] = []

    def start(self, worker: int, command: Sequence[str], env: Mapping[str, str]) -> str:
        self.started.append(worker)
        return f"machine-{worker}"

    def poll(self, ids: Sequence[str]) -> dict[str, WorkerState]:
        return dict.fromkeys(ids, "running")

    def stop(self, ids: Sequence[str]) -> None:
        self.stopped += ids


class FewLeft:
    """Records of a study of which some trials are finished."""

    def __init__(self, finished: int) -> None:
        self.finished = finished

    def rows(self) -> list[Any]:
        base = SimpleNamespace(number=-1, finished=True, step=0)  # the scores before training
        return [base, *(SimpleNamespace(number=number, finished=True, step=9) for number in range(self.finished))]

    def release(self, token: str, *, wait: bool) -> None: ...


@pytest.mark.parametrize(("finished", "started"), [(0, 4), (5, 4), (7, 3), (9, 1), (10, 1)])
def test_no_more_machines_are_started_than_trials_are_left(finished: int, started: int, tmp_path: Path) -> None:
    machines, stop = Machines(), threading.Event()
    stop.set()  # checks no further than the start
    settings = StudySettings(n_trials=10, sampler="random", space={"lora.r": {"values": [4, 8]}})
    plan = StudyPlan(settings, TrialConfig(), tmp_path)
    WorkerPool(machines, plan, FewLeft(finished), n_workers=4).run(stop)  # type: ignore[arg-type]
    assert machines.started == list(range(started))
    assert machines.stopped == [f"machine-{worker}" for worker in range(started)]


def test_it_is_found_by_its_name() -> None:
    (entry,) = [entry for entry in entry_points(group="spelling_transfer.trial_backends") if entry.name == "lightning"]
    assert entry.load() is LightningTrialBackend


def test_workers_are_started_watched_and_stopped(platform, project: Path) -> None:  # noqa: F811
    settings = StudySettings(space={}, place="data/shared/places")
    (project / "study").mkdir()
    (project / "study" / "launch.json").write_text("{}")  # nothing that a worker could read
    backend = LightningTrialBackend(project / "study", settings)
    command = ["python", "-m", "a.worker", str(project / "study"), "--worker"]
    first, second = (backend.start(worker, [*command, str(worker)], {}) for worker in range(2))
    until(lambda: backend.poll([first, second]) == {first: "failed", second: "failed"})
    assert sorted(job["name"].rsplit("-", 3)[0] for job in platform.jobs) == ["worker-0", "worker-1"]
    started = re.compile(r"study_jobs data/shared/places 1:[0-9a-f]{64} --worker")
    assert all(started.search(job["spec"]["command"]) for job in platform.jobs)
    backend.stop([first, second])
    assert platform.running == []
