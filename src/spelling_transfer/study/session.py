"""One call of a study: what is checked before anything is trained, and how its workers are run."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from kedro_lightning import machine_count
from spelling_transfer.study.backend import TrialBackend
from spelling_transfer.study.choices import planned_trials
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.executor import (
    Objective,
    ObjectiveSource,
    StudyError,
    StudyInterruptedError,
    StudyResult,
)
from spelling_transfer.study.identity import check_identity, study_identity
from spelling_transfer.study.launch import write_launch
from spelling_transfer.study.observer import StudyObserver
from spelling_transfer.study.pool import WorkerPool, make_backend
from spelling_transfer.study.records import VERSION, Records, TrialRow
from spelling_transfer.study.sizing import worker_count
from spelling_transfer.study.snapshot import Snapshots, study_result
from spelling_transfer.study.space import read_space
from spelling_transfer.study.storage import check_room, open_engine, storage_url
from spelling_transfer.study.watch import Watch
from spelling_transfer.study.worker import Worker

_LOGGER = logging.getLogger(__name__)
_W = TypeVar("_W", bound=Worker)
_WAIT_SECONDS = 0.5
_SCRATCH = str(StudySettings.model_fields["name"].default)


class StudySession:
    """A study as one call sees it.

    Args:
        settings: The study.
        defaults: The configuration its space varies.
        objective: Trains and scores one configuration, or makes what does.
        folder: The study's folder; made if it is not there.
        is_kept: Whether the folder outlives the call, so that a dashboard can look at it.

    Raises:
        StudyConfigError: The space is not valid, or the name belongs to another study.
        StorageError: The storage is not there, or there is no room.
    """

    def __init__(
        self,
        settings: StudySettings,
        defaults: TrialConfig,
        objective: Objective | ObjectiveSource,
        folder: Path,
        *,
        is_kept: bool = True,
    ) -> None:
        self.settings = settings
        self.defaults = defaults
        self.objective = objective
        self.folder = folder
        self.space = read_space(settings.space, defaults)
        self.n_trials = planned_trials(self.space, settings)
        folder.mkdir(parents=True, exist_ok=True)
        check_room(folder)
        self._is_kept = is_kept or settings.storage is not None
        self._url = storage_url(settings.storage, folder)
        check_machines(settings)
        self._open()
        try:
            self._enter()
        except StudyConfigError:
            self.close()
            # The name that nobody chose: `kedro run` with other settings begins anew, as it does everywhere else.
            if settings.name != _SCRATCH or settings.storage is not None or settings.resume:
                raise
            _set_aside(folder)
            self._open()
            self._enter()

    def _open(self) -> None:
        self._engine = open_engine(self._url)
        self.records = Records(self._engine, self.settings.name)

    def _enter(self) -> None:
        shown = self._url.render_as_string(hide_password=True)
        source = self.objective if isinstance(self.objective, ObjectiveSource) else None
        identity = study_identity(self.settings, self.defaults, {} if source is None else source.identity())
        found = self.records.find()
        if found is None:
            if self.settings.resume:
                raise StudyConfigError(
                    f"study.resume: there is no study {self.settings.name!r} in {shown}. Start it without --resume."
                )
            self.records.create(identity, base=source is not None or hasattr(self.objective, "evaluate"))
            found = self.records.find() or (identity, VERSION)
        if found[1] != VERSION:
            raise StudyConfigError(
                f"study.name: {self.settings.name!r} in {shown} was made by another version of this project (format "
                f"{found[1]}, this one writes {VERSION}). Finish it with that version, or give this one another name."
            )
        check_identity(found[0], identity, self.settings.name, shown)
        begun = len(self._trials())
        if begun > self.n_trials:
            raise StudyConfigError(
                f"study.n_trials: {self.n_trials} is less than the {begun} trials that {self.settings.name!r} has in "
                f"{shown}. Ask for {begun} or more, or give this study another name."
            )

    def _trials(self) -> list[TrialRow]:
        return [row for row in self.records.trials() if row.number >= 0]

    def is_finished(self) -> bool:
        """Whether nothing is left to run."""
        rows = self.records.trials()
        return all(row.finished for row in rows) and sum(row.number >= 0 for row in rows) == self.n_trials

    def run(self, observers: Sequence[StudyObserver], backend: TrialBackend | None) -> None:
        """Runs what is left to run.

        Raises:
            StudyInterruptedError: Ctrl-C or SIGTERM.
            SpellingTransferError: Something that the next trial would not mend.
        """
        stop = threading.Event()
        left = self.n_trials - sum(row.finished for row in self._trials())
        n_workers = worker_count(self.settings, self.defaults, self.objective, left)
        impatient = Records(self._engine, self.settings.name, patience_seconds=0.0)
        snapshots = Snapshots(self.settings, self.space, impatient, self.n_trials)
        with stop_on_signals(stop), Watch(snapshots, observers, self._url if self._is_kept else None):
            if n_workers == 1 and backend is None and self.settings.backend == "local":
                self._run_here(stop)
            else:
                self._run_pool(backend, n_workers, stop)
        if stop.is_set() and not self.is_finished():
            done = sum(row.finished for row in self._trials())
            raise StudyInterruptedError(
                f"The study {self.settings.name!r} was stopped with {done} of {self.n_trials} trials finished. "
                + ("Run the same command again: it goes on where it stopped." if self._is_kept else "Nothing was kept.")
            )

    def _make_worker(self, kind: type[_W], stop: threading.Event) -> _W:
        """Returns a worker of this process."""
        objective = self.objective.open() if isinstance(self.objective, ObjectiveSource) else self.objective
        return kind(
            objective,
            self.settings,
            self.space,
            self.records,
            self.folder,
            n_trials=self.n_trials,
            token=f"here-{uuid.uuid4().hex[:8]}",
            stop=stop,
        )

    def _run_here(self, stop: threading.Event) -> None:
        worker = self._make_worker(Worker, stop)
        worker.run()
        # Another call of the same study may still be at its last trials, or lose them.
        while not stop.wait(0.0) and not self.is_finished():
            stop.wait(_WAIT_SECONDS)
            worker.run()

    def _run_pool(self, backend: TrialBackend | None, n_workers: int, stop: threading.Event) -> None:
        if not isinstance(self.objective, ObjectiveSource):
            raise StudyError("study.workers: more than one worker needs an objective that other processes can make.")
        write_launch(self.folder, self.settings, self.defaults, self.n_trials, self.objective)
        pool = WorkerPool(
            backend or make_backend(self.settings.backend, self.folder),
            self.records,
            self.folder,
            n_workers=n_workers,
            n_trials=self.n_trials,
            threads=self.defaults.training.threads,
        )
        pool.run(stop)

    def result(self) -> StudyResult:
        """Returns the tables of the study.

        Raises:
            StudyError: Every trial failed.
        """
        rows = self._trials()
        if rows and all(row.state == "failed" for row in rows):
            raise StudyError(
                f"Each of the {len(rows)} trials of {self.settings.name!r} failed; the first: {rows[0].error}"
            )
        return study_result(self.records, self.settings)

    def close(self) -> None:
        """Lets go of the storage."""
        self._engine.dispose()


def check_machines(settings: StudySettings) -> None:
    """Checks that the machines of a study can work together.

    Raises:
        StudyConfigError: They share no database, or are the machines of one job.
    """
    if machine_count() > 1:
        raise StudyConfigError(
            "compute: num_machines: a study does not spread over the machines of one job. Give tuning.run_study a "
            "tier of one machine (nodes.tuning.run_study.tier in compute.yml); 'kedro tune --mode lightning' makes "
            "each worker a job."
        )
    if settings.backend == "lightning" and (settings.storage or "sqlite:").startswith("sqlite"):
        raise StudyConfigError(
            "study.storage: a file cannot be shared by workers on rented machines (study.backend: lightning). Name "
            "a PostgreSQL that all of them reach: --storage postgresql+psycopg://USER@HOST/DATABASE, its password "
            "in PGPASSWORD."
        )


def _set_aside(folder: Path) -> None:
    before = folder.with_name(f"{folder.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    folder.replace(before)
    folder.mkdir()
    _LOGGER.warning("%s held a study with other settings; it is in %s now, until the next such time.", folder, before)


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Sets ``stop`` at the first Ctrl-C or SIGTERM inside the block; a second Ctrl-C ends at once.

    Signals reach the main thread alone; elsewhere the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    try:
        for number in before:
            signal.signal(number, ask)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
