"""Runs a study: trials side by side or one after the other, each once, whatever is killed; the result is a table."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from kedro_lightning import machine_count
from spelling_transfer.study.backends import WorkerPool, find_backend, make_backend
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.interfaces import (
    NoTrialLeftError,
    Objective,
    ObjectiveSource,
    StudyError,
    StudyInterruptedError,
    StudyObserver,
    StudyResult,
    TrialBackend,
)
from spelling_transfer.study.machine import worker_count
from spelling_transfer.study.plan import StudyPlan, check_identity, write_plan
from spelling_transfer.study.records import VERSION, Records, is_finished
from spelling_transfer.study.storage import (
    FILE_NAME,
    StorageError,
    check_room,
    open_engine,
    place_aside,
    storage_url,
)
from spelling_transfer.study.watch import Snapshots, Watch, study_result
from spelling_transfer.study.worker import Propose, Worker, is_lost

_LOGGER = logging.getLogger(__name__)
_WAIT_SECONDS = 0.5
_SCRATCH = str(StudySettings.model_fields["name"].default)


def run_study(
    settings: StudySettings,
    defaults: TrialConfig,
    objective: Objective | ObjectiveSource,
    *,
    folder: Path | None = None,
    observers: Sequence[StudyObserver] = (),
    backend: TrialBackend | None = None,
) -> StudyResult:
    """Runs what is left to run of a study, and returns all of it.

    One worker runs in this process; several are processes of their own, here or where the back end puts them. A study
    whose folder (or database) holds it already resumes where it stopped; a finished one returns at once.

    Args:
        settings: The study.
        defaults: The configuration its space varies.
        objective: Trains and scores one configuration; several workers need a source of them.
        folder: Where the study keeps records, checkpoints and material; ``None`` keeps nothing.
        observers: Told where the study stands, about every second.
        backend: Where workers run; that of the settings by default.

    Raises:
        StudyConfigError: The space is not valid, or the name is in use with other settings; before anything is trained.
        StorageError: The storage is not there or full.
        StudyInterruptedError: Ctrl-C or SIGTERM.
        StudyError: No trial could be trained.
    """
    with ExitStack() as stack:
        is_kept = folder is not None
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spelling-transfer-study-")))
        session = StudySession(settings, defaults, objective, folder, is_kept=is_kept)
        stack.callback(session.close)
        if not session.is_finished():
            session.run(observers, backend)
        return session.result()


class _Begun(NamedTuple):
    """A study as a folder has it: what it is, the trials begun, and whether a process is at it."""

    identity: str
    version: int
    begun: int = 0
    is_running: bool = False


class StudySession:
    """A study as one call sees it: what is checked before anything is trained, and how its workers are run.

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
        self.plan = StudyPlan(settings, defaults, folder)
        self.plan.n_trials  # noqa: B018  (checks space and sampler before there is a folder)
        self._objective = objective
        folder.mkdir(parents=True, exist_ok=True)
        check_room(folder)
        self._is_kept = is_kept or settings.storage is not None
        self._url = storage_url(settings.storage, folder)
        check_machines(settings)
        source = objective if isinstance(objective, ObjectiveSource) else None
        self._identity = self.plan.identity({} if source is None else source.identity())
        with ExitStack() as opened:
            # The name that nobody chose: `kedro run` with other settings begins anew, as it does everywhere else, or
            # goes on with the study that these settings had before.
            if settings.name == _SCRATCH and settings.storage is None and not settings.resume:
                self._change_study()
            opened.enter_context(held(folder))
            self._engine = open_engine(self._url)
            opened.callback(self._engine.dispose)
            self._records = Records(self._engine, settings.name)
            self._enter()
            self._opened = opened.pop_all()

    def _change_study(self) -> None:
        """Keeps another study that has the folder beside it, and brings back the one with these settings, if any.

        Of several with these settings, that is the one with the most trials, no more than are planned.
        """
        with held_alone(self.plan.folder) as is_free:
            here = self._look(self.plan.folder)
            if here is not None:
                self._change_study_from(here if is_free else here._replace(is_running=True))

    def _change_study_from(self, here: _Begun) -> None:
        folder, n_trials = self.plan.folder, self.plan.n_trials
        fits, kept = self._fits(here), self._kept()
        if fits and (kept is None or kept[0] <= here.begun or here.is_running):
            return
        difference = "fewer trials" if here.begun < n_trials else "more trials"
        if here.version != VERSION:
            difference = "records in another format"
        if here.identity != self._identity:
            difference = "other settings or other data"
        if here.is_running:  # to take its folder away would fail its trial
            raise StudyConfigError(
                f"study.name: another run is training {self.plan.settings.name!r} in {folder}, with {difference} than "
                "this one. Let it end first, or give this study a name of its own: kedro tune --name, or "
                "--params=study.name=NAME."
            )
        aside = place_aside(folder, here.identity)
        while aside.exists():
            aside = aside.with_name(f"{aside.name}+")
        folder.replace(aside)
        if kept is None:
            folder.mkdir()
        else:
            kept[1].replace(folder)
        _LOGGER.warning(
            "%s held a study with %s; it is kept as %s. %s",
            *(folder, difference, aside.name),
            "A new one begins." if kept is None else f"{kept[1].name} is resumed.",
        )

    def _kept(self) -> tuple[int, Path] | None:
        """Returns how many trials were begun in the longest study beside the folder that can be resumed."""
        ours, found = place_aside(self.plan.folder, self._identity), []
        for folder in ours.parent.glob(f"{ours.name}*"):
            with suppress(StorageError):  # a damaged one stays where it is
                kept = self._look(folder)
                if kept is not None and self._fits(kept):
                    found.append((kept.begun, folder))
        return max(found, default=None)

    def _look(self, folder: Path) -> _Begun | None:
        """Returns what a folder has of a study of this name."""
        if not (folder / FILE_NAME).is_file():
            return None
        engine, seconds = open_engine(storage_url(None, folder)), self.plan.settings.heartbeat_seconds
        try:
            records = Records(engine, self.plan.settings.name)
            identity, version = records.find() or ("", 0)
            if version != VERSION:
                return _Begun(identity, version) if identity else None
            is_running = bool(records.running(lambda row, time: is_lost(row, time, seconds)))
            return _Begun(identity, version, len(records.trials()), is_running)
        finally:
            engine.dispose()

    def _fits(self, study: _Begun) -> bool:
        """Whether the study is this one, and not yet longer than this one is to be."""
        return (study.identity, study.version) == (self._identity, VERSION) and study.begun <= self.plan.n_trials

    def _enter(self) -> None:
        name, shown = self.plan.settings.name, self._url.render_as_string(hide_password=True)
        identity = self._identity
        found = self._records.find()
        if found is None:
            others = [each for each in self._records.names() if each != name]  # another process may begin it just now
            if self.plan.settings.storage is None and others:
                raise StudyConfigError(
                    f"study.name: {self.plan.folder} contains the study {others[0]!r}, not {name!r}. Rename "
                    f"the folder back to {others[0]!r}, or choose another name than {name!r}."
                )
            if self.plan.settings.resume:
                raise StudyConfigError(
                    f"study.resume: there is no study {name!r} in {shown}. Start it without --resume."
                )
            scores_base = isinstance(self._objective, ObjectiveSource) or hasattr(self._objective, "evaluate")
            self._records.create(identity, base=scores_base)
            found = self._records.find() or (identity, VERSION)
        if found[1] != VERSION:
            raise StudyConfigError(
                f"study.name: {name!r} in {shown} was made by another version of this project (format {found[1]}, this "
                f"one writes {VERSION}). Finish it with that version, or give this one another name."
            )
        check_identity(found[0], identity, name, shown)
        begun = len(self._records.trials())
        if begun > self.plan.n_trials:
            raise StudyConfigError(
                f"study.n_trials: {self.plan.n_trials} is less than the {begun} trials that {name!r} has in {shown}. "
                f"Ask for {begun} or more, or give this study another name."
            )

    def is_finished(self) -> bool:
        """Whether nothing is left to run."""
        return is_finished(self._records.rows(), self.plan.n_trials)

    def run(
        self, observers: Sequence[StudyObserver], backend: TrialBackend | None = None, propose: Propose | None = None
    ) -> None:
        """Runs what is left to run.

        Args:
            observers: Told where the study stands.
            backend: Where workers run; that of the settings by default.
            propose: Chooses the trials in place of the study's sampler, for one worker in this process.

        Raises:
            StudyInterruptedError: Ctrl-C or SIGTERM.
            SpellingTransferError: Something that the next trial would not mend.
        """
        settings, stop = self.plan.settings, threading.Event()
        self._records.stop = stop
        left = self.plan.n_trials - sum(row.finished for row in self._records.trials())
        n_workers = worker_count(settings, self.plan.defaults, self._objective, left)
        impatient = Records(self._engine, settings.name, patience_seconds=0.0)
        dashboard = self._url if self._is_kept else None
        try:
            with stop_on_signals(stop), Watch(Snapshots(self.plan, impatient), observers, dashboard).kept():
                if n_workers == 1 and backend is None and settings.backend == "local":
                    self._run_here(stop, propose)
                else:
                    self._run_pool(backend, n_workers, stop)
            is_left = stop.is_set() and not self.is_finished()
        except StorageError as error:
            if not stop.is_set():
                raise
            raise StudyInterruptedError(
                f"The study {settings.name!r} was stopped, and its records could not be reached. {error} Run the same "
                "command again once they can: it resumes where it stopped."
            ) from error
        if is_left:
            done = sum(row.finished for row in self._records.trials())
            raise StudyInterruptedError(
                f"The study {settings.name!r} was stopped with {done} of {self.plan.n_trials} trials finished. "
                + ("Run the same command again: it resumes where it stopped." if self._is_kept else "Nothing was kept.")
            )

    def _run_here(self, stop: threading.Event, propose: Propose | None) -> None:
        objective = self._objective.open() if isinstance(self._objective, ObjectiveSource) else self._objective
        token = f"here-{uuid.uuid4().hex[:8]}"
        worker = Worker(objective, self.plan, self._records, token=token, stop=stop, propose=propose)
        try:
            worker.run()
            # Another call of the same study may still be at its last trials, or lose them.
            while not stop.wait(0.0) and not self.is_finished():
                stop.wait(_WAIT_SECONDS)
                worker.run()
        except NoTrialLeftError:
            _LOGGER.info("There is no further trial for %s.", self.plan.settings.name)

    def _run_pool(self, backend: TrialBackend | None, n_workers: int, stop: threading.Event) -> None:
        if not isinstance(self._objective, ObjectiveSource):
            raise StudyError("study.workers: more than one worker needs an objective that other processes can make.")
        write_plan(self.plan, self._objective)
        backend = backend or make_backend(self.plan.settings, self.plan.folder)
        WorkerPool(backend, self.plan, self._records, n_workers).run(stop)

    def result(self) -> StudyResult:
        """Returns the tables of the study.

        Raises:
            StudyError: Every trial failed, or there is none.
        """
        rows = self._records.trials()
        if not rows:
            raise StudyError(f"{self.plan.settings.name!r} has no trial: its sweep at Weights & Biases gave none.")
        if all(row.state == "failed" for row in rows):
            raise StudyError(
                f"Each of the {len(rows)} trials of {self.plan.settings.name!r} failed; the first: {rows[0].error}"
            )
        return study_result(self.plan, self._records)

    def close(self) -> None:
        """Closes the storage, and lets others take the folder."""
        self._opened.close()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps other processes from moving a folder, where its file system has locks; several may hold it."""
    with ExitStack() as stack:
        with suppress(OSError):
            for _ in range(10):
                folder.mkdir(exist_ok=True)
                with ExitStack() as attempt:
                    descriptor = os.open(folder, os.O_RDONLY)
                    attempt.callback(os.close, descriptor)
                    fcntl.flock(descriptor, fcntl.LOCK_SH)
                    if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                        stack.enter_context(attempt.pop_all())
                        break  # else it was moved just before it was held
        yield


@contextmanager
def held_alone(folder: Path) -> Iterator[bool]:
    """Says whether no other process holds a folder, and lets none hold it during the block."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # another process has moved it just now
        yield True
        return
    try:
        is_free = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_free = False
        except OSError:  # a file system without locks
            _LOGGER.debug("%s cannot be locked.", folder)
        yield is_free
    finally:
        os.close(descriptor)


def check_machines(settings: StudySettings) -> None:
    """Checks that the machines of a study can work together.

    Raises:
        StudyConfigError: They share no database or place, are the machines of one job, or nobody said how many.
    """
    find_backend(settings)
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
    if settings.backend == "lightning" and not settings.place:
        raise StudyConfigError(
            "study.place: rented machines (study.backend: lightning) do not see this one's folders. Name a place in a "
            "bucket of yours: studies_place: s3://YOUR-BUCKET/studies in globals.yml of the environment, or "
            "--params study.place=s3://YOUR-BUCKET/studies."
        )


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
