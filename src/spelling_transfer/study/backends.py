"""Where the workers of a study run, and what keeps them running; here they are processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from spelling_transfer.study.config import StudyConfigError, StudySettings
from spelling_transfer.study.interfaces import StudyError, TrialBackend, WorkerState
from spelling_transfer.study.machine import visible_gpus
from spelling_transfer.study.plan import StudyPlan
from spelling_transfer.study.records import Records, TrialRow, is_finished
from spelling_transfer.study.storage import StorageError
from spelling_transfer.study.worker import STOP_WITH_INPUT

GROUP = "spelling_transfer.trial_backends"

_PATIENCE_SECONDS = 30.0
"""How long a worker may take to write its checkpoint after it was asked to stop."""
_POLL_SECONDS = 0.2
_MAX_STARTS_WITHOUT_PROGRESS = 5
_ENDED: tuple[WorkerState, ...] = ("finished", "failed", "gone")


def find_backend(settings: StudySettings) -> EntryPoint:
    """Returns the entry point of a study's back end.

    Raises:
        StudyConfigError: None of that name is installed, or nobody said how many machines it is to rent.
    """
    found, name = entry_points(group=GROUP), settings.backend
    if name != "local" and settings.workers == "auto":
        raise StudyConfigError(
            f"study.workers: auto counts what this machine bears, not machines to rent (study.backend: {name}). Say "
            "how many: --workers 4."
        )
    if name not in found.names:
        raise StudyConfigError(
            f"study.backend: {name!r} is not installed; there are {', '.join(sorted(found.names)) or 'none'}. Install "
            f"the package that brings it (entry points {GROUP}), or leave the mode out to run the study here."
        )
    return found[name]


def make_backend(settings: StudySettings, folder: Path) -> TrialBackend:
    """Returns a study's back end, made with the study's folder and settings.

    Raises:
        StudyConfigError: As ``find_backend``.
    """
    backend: TrialBackend = find_backend(settings).load()(folder, settings)
    return backend


class LocalBackend:
    """Starts each worker as a process in a session of its own, so that Ctrl-C reaches the parent alone.

    A worker's standard input is a pipe from its parent. It closes when the parent ends, however it does, and the worker
    ends too: nothing is left behind by ``kill -9``.

    Args:
        folder: The study's folder; logs go to ``workers/`` in it.
        settings: The study; this back end has none of its own.
    """

    def __init__(self, folder: Path, settings: StudySettings | None = None) -> None:
        self._logs = folder / "workers"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._current: dict[int, str] = {}

    def start(self, worker: int, command: Sequence[str], env: Mapping[str, str]) -> str:
        """Starts a worker; one that is running already is left alone."""
        current = self._current.get(worker)
        if current is not None and self._processes[current].poll() is None:
            return current
        self._logs.mkdir(parents=True, exist_ok=True)
        program = [sys.executable if command[0] == "python" else command[0], *command[1:]]
        with (self._logs / f"worker-{worker}.log").open("ab") as log:
            process = subprocess.Popen(
                program,
                env={**os.environ, **env, **_device(worker), STOP_WITH_INPUT: "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._current[worker] = str(process.pid)
        self._processes[str(process.pid)] = process
        return str(process.pid)

    def poll(self, ids: Sequence[str]) -> dict[str, WorkerState]:
        """Returns where each worker stands."""
        return {each: self._state(self._processes[each].poll()) for each in ids}

    @staticmethod
    def _state(code: int | None) -> WorkerState:
        if code is None:
            return "running"
        if code == 0:
            return "finished"
        return "failed" if code > 0 else "gone"

    def stop(self, ids: Sequence[str]) -> None:
        """Asks workers to stop, waits for their checkpoints, and ends those that do not."""
        processes = [self._processes[each] for each in ids]
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()


def _device(worker: int) -> dict[str, str]:
    """Returns the variable that gives a worker a GPU of its own, where there are several."""
    devices = visible_gpus() or os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return {"CUDA_VISIBLE_DEVICES": devices[worker % len(devices)]} if len(devices) > 1 else {}


@dataclass
class _Running:
    id: str
    token: str
    state: WorkerState = "starting"


class WorkerPool:
    """Keeps workers running until the study is finished: restarts those that were killed, ends all when one has failed.

    Args:
        backend: Where they run.
        plan: The study.
        records: Its records.
        n_workers: How many run side by side; fewer are started where fewer trials are left.
    """

    def __init__(self, backend: TrialBackend, plan: StudyPlan, records: Records, n_workers: int) -> None:
        self._backend = backend
        self._plan = plan
        self._records = records
        self._n_workers = n_workers
        self._workers: dict[int, _Running] = {}
        self._failed_starts = 0
        self._progress: tuple[int, int] = (0, 0)

    def run(self, stop: threading.Event) -> None:
        """Runs workers until the study is finished or ``stop`` is set.

        Raises:
            StudyError: A worker ended with an error, or keeps being killed.
        """
        try:
            rows = self._records.rows()
            left = self._plan.n_trials - sum(row.finished for row in rows if row.number >= 0)
            for worker in range(min(self._n_workers, max(left, 1))):  # a machine without a trial costs all the same
                self._start(worker, rows)
            while not stop.wait(_POLL_SECONDS):
                rows = self._check_workers()
                if is_finished(rows, self._plan.n_trials):
                    return
        finally:
            self._backend.stop([running.id for running in self._workers.values()])
            with suppress(StorageError):  # what is not released is taken once its heartbeat is stale
                for running in self._workers.values():
                    self._records.release(running.token + "/", wait=False)

    def _check_workers(self) -> list[TrialRow]:
        states = self._backend.poll([running.id for running in self._workers.values()])
        for running in self._workers.values():
            before, running.state = running.state, states[running.id]
            if running.state in _ENDED and before not in _ENDED:
                self._records.release(running.token + "/")
        rows = self._records.rows()
        for worker, running in self._workers.items():
            if running.state == "failed":
                raise StudyError(self._error_of(worker, rows))
            if running.state in _ENDED and self._has_work(rows):
                self._start(worker, rows)
        return rows

    def _has_work(self, rows: list[TrialRow]) -> bool:
        free = any(row.state == "waiting" or (row.state == "running" and row.heartbeat == 0) for row in rows)
        orphaned = all(running.state in _ENDED for running in self._workers.values())
        new = sum(row.number >= 0 for row in rows) < self._plan.n_trials
        return free or new or (orphaned and not is_finished(rows, self._plan.n_trials))

    def _start(self, worker: int, rows: list[TrialRow]) -> None:
        progress = (sum(row.finished for row in rows), sum(row.step for row in rows))
        self._failed_starts = 0 if progress > self._progress else self._failed_starts + 1
        self._progress = max(progress, self._progress)
        if self._failed_starts > _MAX_STARTS_WITHOUT_PROGRESS + 2 * self._n_workers:
            raise StudyError(
                f"Workers of the study were killed {self._failed_starts} times without getting further: most likely "
                f"the memory does not suffice. {self._log(worker)}"
            )
        threads = str(self._plan.defaults.training.threads)
        env = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
        token = f"worker-{worker}-{uuid.uuid4().hex[:8]}"
        command = ["python", "-m", "spelling_transfer.study.worker", str(self._plan.folder.resolve())]
        command += ["--worker", str(worker), "--token", token]
        self._workers[worker] = _Running(self._backend.start(worker, command, env), token)

    def _error_of(self, worker: int, rows: list[TrialRow]) -> str:
        recorded = [row.error for row in rows if row.state == "waiting" and row.error]
        return recorded[0] if recorded else f"Worker {worker} ended with an error. {self._log(worker)}"

    def _log(self, worker: int) -> str:
        log = self._plan.folder / "workers" / f"worker-{worker}.log"
        if not log.is_file():
            return "Its log is where the back end keeps it."
        lines = log.read_text(errors="replace").strip().splitlines()
        return f"Its last words ({log}): {lines[-1] if lines else 'none'}"
