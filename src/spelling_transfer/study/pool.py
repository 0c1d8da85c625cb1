"""Keeps workers running until the study is finished: restarts those that were killed, ends all when one has erred."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from spelling_transfer.study.backend import TrialBackend, WorkerState
from spelling_transfer.study.config import StudyConfigError
from spelling_transfer.study.executor import StudyError
from spelling_transfer.study.records import Records, TrialRow

GROUP = "spelling_transfer.trial_backends"

_POLL_SECONDS = 0.2
_MAX_STARTS_WITHOUT_PROGRESS = 5


def make_backend(name: str, folder: Path) -> TrialBackend:
    """Returns the back end of a name; each is made with the study's folder.

    Raises:
        StudyConfigError: None of that name is installed.
    """
    found = {each.name: each for each in entry_points(group=GROUP)}
    if name not in found:
        raise StudyConfigError(
            f"study.backend: {name!r} is not installed; there are {', '.join(sorted(found)) or 'none'}. Install the "
            f"package that brings it (entry points {GROUP})."
        )
    backend: TrialBackend = found[name].load()(folder)
    return backend


@dataclass
class _Running:
    id: str
    token: str
    state: WorkerState = "starting"


class WorkerPool:
    """The workers of a study.

    Args:
        backend: Where they run.
        records: The study's records.
        folder: Its folder.
        n_workers: How many run side by side; fewer are started where fewer trials are left.
        n_trials: Trials planned.
        threads: CPU threads of each.
    """

    def __init__(
        self, backend: TrialBackend, records: Records, folder: Path, *, n_workers: int, n_trials: int, threads: int
    ) -> None:
        self._backend = backend
        self._records = records
        self._folder = folder
        self._n_workers = n_workers
        self._n_trials = n_trials
        self._env = {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._workers: dict[int, _Running] = {}
        self._fruitless_starts = 0
        self._progress: tuple[int, int] = (0, 0)

    def run(self, stop: threading.Event) -> None:
        """Runs workers until the study is finished or ``stop`` is set.

        Raises:
            StudyError: A worker ended with an error, or keeps being killed.
        """
        try:
            rows = self._records.trials()
            left = self._n_trials - sum(row.finished for row in rows if row.number >= 0)
            for worker in range(min(self._n_workers, max(left, 1))):  # a machine without a trial costs all the same
                self._start(worker, rows)
            while not stop.wait(_POLL_SECONDS):
                rows = self._look_after()
                if self._is_finished(rows):
                    return
        finally:
            self._backend.stop([running.id for running in self._workers.values()])
            for running in self._workers.values():
                self._records.release(running.token + "/")

    def _is_finished(self, rows: list[TrialRow]) -> bool:
        return all(row.finished for row in rows) and sum(row.number >= 0 for row in rows) == self._n_trials

    def _look_after(self) -> list[TrialRow]:
        states = self._backend.poll([running.id for running in self._workers.values()])
        for running in self._workers.values():
            before, running.state = running.state, states[running.id]
            if running.state in ("finished", "failed", "gone") and before not in ("finished", "failed", "gone"):
                self._records.release(running.token + "/")
        rows = self._records.trials()
        for worker, running in self._workers.items():
            if running.state == "failed":
                raise StudyError(self._error_of(worker, rows))
            if running.state in ("finished", "gone") and self._has_work(rows):
                self._start(worker, rows)
        return rows

    def _has_work(self, rows: list[TrialRow]) -> bool:
        free = any(row.state == "waiting" or (row.state == "running" and row.beat == 0) for row in rows)
        orphaned = all(running.state in ("finished", "gone") for running in self._workers.values())
        new = sum(row.number >= 0 for row in rows) < self._n_trials
        return free or new or (orphaned and not self._is_finished(rows))

    def _start(self, worker: int, rows: list[TrialRow]) -> None:
        progress = (sum(row.finished for row in rows), sum(row.step for row in rows))
        self._fruitless_starts = 0 if progress > self._progress else self._fruitless_starts + 1
        self._progress = max(progress, self._progress)
        if self._fruitless_starts > _MAX_STARTS_WITHOUT_PROGRESS + 2 * self._n_workers:
            raise StudyError(
                f"Workers of the study were killed {self._fruitless_starts} times without getting further: most likely "
                f"the memory does not suffice. {self._log(worker)}"
            )
        token = f"worker-{worker}-{uuid.uuid4().hex[:8]}"
        command = ["python", "-m", "spelling_transfer.study.worker", str(self._folder.resolve())]
        command += ["--worker", str(worker), "--token", token]
        self._workers[worker] = _Running(self._backend.start(worker, command, self._env), token)

    def _error_of(self, worker: int, rows: list[TrialRow]) -> str:
        recorded = [row.error for row in rows if row.state == "waiting" and row.error]
        return recorded[0] if recorded else f"Worker {worker} ended with an error. {self._log(worker)}"

    def _log(self, worker: int) -> str:
        log = self._folder / "workers" / f"worker-{worker}.log"
        if not log.is_file():
            return "Its log is where the back end keeps it."
        lines = log.read_text(errors="replace").strip().splitlines()
        return f"Its last words ({log}): {lines[-1] if lines else 'none'}"
