"""Workers as processes: started once, told apart when they end, gone when their parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from spelling_transfer.study.local_backend import LocalBackend
from spelling_transfer.study.sizing import fitting_workers, n_cores

_SLEEP = ["python", "-c", "import time; time.sleep(60)"]


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalBackend]:
    backend = LocalBackend(tmp_path)
    yield backend
    backend.stop(list(backend._processes))


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def ended(backend: LocalBackend, worker: str) -> str:
    assert wait_until(lambda: backend.poll([worker])[worker] != "running")
    return backend.poll([worker])[worker]


def test_the_ways_to_end_are_told_apart(backend: LocalBackend, tmp_path: Path) -> None:
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
        "import sys, time; from pathlib import Path; from spelling_transfer.study.local_backend import LocalBackend\n"
        f"print(LocalBackend(Path(sys.argv[1])).start(0, ['python', '-c', {waits!r}], {{}}), flush=True)\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert psutil.pid_exists(worker)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == "zombie")


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


def test_workers_fit_cores_and_memory() -> None:
    assert 1 <= fitting_workers(threads=1, model_bytes=0) <= n_cores()
    assert fitting_workers(threads=n_cores(), model_bytes=0) == 1
    assert fitting_workers(threads=1, model_bytes=psutil.virtual_memory().total) == 1
