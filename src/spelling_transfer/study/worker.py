"""A worker takes trials from a study's records until none is left: in the study's own process, or as one of many.

python -m spelling_transfer.study.worker FOLDER --worker 0
"""

from __future__ import annotations

import argparse
import logging
import os
import pkgutil
import platform
import shutil
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.study.choices import most_steps
from spelling_transfer.study.interfaces import Objective, TrialFailedError
from spelling_transfer.study.machine import time_of_birth
from spelling_transfer.study.monitor import TrialInterruptedError, TrialMonitor, repeating, scored_row
from spelling_transfer.study.plan import StudyPlan, read_plan
from spelling_transfer.study.records import (
    BASE_NUMBER,
    HEARTBEATS_TO_STALE,
    ClaimLostError,
    Proposal,
    Records,
    TrialRow,
)
from spelling_transfer.study.storage import StorageError, is_disk_full, open_engine, storage_url

if TYPE_CHECKING:
    from spelling_transfer.study.samplers import History

_LOGGER = logging.getLogger(__name__)

STOP_WITH_INPUT = "SPELLING_TRANSFER_STOP_WITH_INPUT"
"""Environment variable: a worker ends when its standard input does, as it does when its parent is killed."""

Propose = Callable[[int, threading.Event], Proposal]
"""Says what the trial of a number tries; the event is set when the worker is to stop. Raises `NoTrialLeftError`."""


class Worker:
    """Takes trials and runs them, one after the other.

    Args:
        objective: Trains and scores one configuration.
        plan: The study.
        records: Its records.
        token: How the worker's claims are signed; its starter can release them by it.
        stop: Set when it is to stop.
        propose: Chooses new trials in place of the study's sampler.
        discard: Told the folder of each trial that has ended, whose checkpoints serve no more.
    """

    def __init__(
        self,
        objective: Objective,
        plan: StudyPlan,
        records: Records,
        *,
        token: str,
        stop: threading.Event,
        propose: Propose | None = None,
        discard: Callable[[Path], None] | None = None,
    ) -> None:
        self._objective = objective
        self._plan = plan
        self._records = records
        self._token = token
        self._stop = stop
        self._chosen = propose
        self._discard = discard
        self._history: History | None = None

    def run(self) -> None:
        """Takes trials until none is left to take, or until it is asked to stop.

        Raises:
            SpellingTransferError: Something is wrong that the next trial would not mend; the trial is released.
            NoTrialLeftError: Whoever chooses the trials has no further one.
        """
        while not self._stop.is_set():
            owner = "/".join([self._token, process_signature(os.getpid()), uuid.uuid4().hex[:8]])
            row = self._records.claim(owner, self._plan.n_trials, self._propose, is_dead=self._is_dead)
            if row is None:
                return
            if row.number == BASE_NUMBER:
                self._score_base(row)
                continue
            try:
                self._run_trial(row)
            except ClaimLostError:
                _LOGGER.warning("Trial %d was taken over by another worker.", row.number)

    def _is_dead(self, row: TrialRow, time: float) -> bool:
        return is_lost(row, time, self._plan.settings.heartbeat_seconds)

    def _optuna(self) -> History:
        from spelling_transfer.study.samplers import History, make_pruner

        if self._history is None:
            # With the pruner: TPE learns within the brackets of Hyperband.
            pruner = make_pruner(self._plan.settings, most_steps(self._plan.space))
            self._history = History(self._records, pruner=pruner)
        return self._history

    def _propose(self, number: int) -> Proposal | None:
        if self._chosen is not None:
            return self._chosen(number, self._stop)
        return self._optuna().propose(number, self._plan.settings, self._plan.space)

    def _run_trial(self, row: TrialRow) -> None:
        history = None if self._plan.settings.pruner == "none" else self._optuna()
        monitor = TrialMonitor(row, self._records, history, self._plan, self._stop)
        config = self._plan.config(row.number, row.proposal.choices)
        try:
            with repeating(monitor.heartbeat, self._plan.settings.heartbeat_seconds / 2):
                outcome = self._objective(config, monitor)
            adapter = monitor.folder / "adapter"
            # Below the study's folder: that of another machine has another path.
            monitor.finish(outcome, str(adapter.relative_to(self._plan.folder)) if adapter.is_dir() else "")
            self._clear(monitor.folder)
        except TrialInterruptedError:
            monitor.release()
        except TrialFailedError as error:
            monitor.fail(str(error))
            self._clear(monitor.folder)
        except (ClaimLostError, SpellingTransferError, KeyboardInterrupt) as error:
            self._release(monitor, error)
            raise
        except Exception as error:
            if is_disk_full(error, self._plan.folder):
                free = shutil.disk_usage(self._plan.folder).free / 1e6
                full = StorageError(
                    f"{self._plan.folder}: no room is left on its disk ({free:.0f} MB). Make room and run the study "
                    "again: it resumes where it stopped."
                )
                self._release(monitor, full)
                raise full from error
            _LOGGER.warning("Trial %d failed.", row.number, exc_info=error)
            monitor.fail(f"{type(error).__name__}: {error}")
            self._clear(monitor.folder)

    def _clear(self, trial: Path) -> None:
        shutil.rmtree(trial / "checkpoints", ignore_errors=True)
        if self._discard is not None:
            self._discard(trial)

    @staticmethod
    def _release(monitor: TrialMonitor, error: BaseException) -> None:
        try:
            monitor.release("" if isinstance(error, KeyboardInterrupt) else str(error))
        except (ClaimLostError, StorageError):
            _LOGGER.debug("The trial could not be released; it is retried once its heartbeat is stale.")

    def _score_base(self, row: TrialRow) -> None:
        monitor = TrialMonitor(row, self._records, None, self._plan, self._stop)
        try:
            with repeating(monitor.heartbeat, self._plan.settings.heartbeat_seconds / 2):
                evaluation = self._objective.evaluate(0)  # type: ignore[attr-defined]
            scored = {**scored_row(evaluation, self._plan.settings), "verdict": "complete"}
            self._records.write(row, steps=[("evaluation", scored)], state="complete", seconds=monitor.seconds)
        except ClaimLostError:
            return
        except BaseException as error:
            self._release(monitor, error)
            raise


def process_signature(pid: int) -> str:
    """Returns what distinguishes a process from all others: machine, id, time of birth."""
    return f"{platform.node()}/{pid}/{time_of_birth(pid):.2f}"


def is_lost(row: TrialRow, time: float, heartbeat_seconds: float) -> bool:
    """Whether the worker of a running trial is gone, at the storage's time."""
    silent = time - row.heartbeat > HEARTBEATS_TO_STALE * heartbeat_seconds
    return silent or is_dead_process(row.owner.partition("/")[2])


def is_dead_process(signature: str) -> bool:
    """Whether a process of this machine has ended; of another machine's nothing is known, so it is not."""
    node, _, rest = signature.partition("/")
    pid, _, _ = rest.partition("/")
    if node != platform.node() or not pid.isdigit():
        return False
    try:
        return not signature.startswith(process_signature(int(pid)))
    except psutil.NoSuchProcess:
        return True


def main(arguments: list[str] | None = None) -> int:
    """Runs a worker on a study's folder; returns its exit code."""

    def open_folder(folder: str) -> OpenStudy:
        plan, factory, options = read_plan(Path(folder))
        return plan, pkgutil.resolve_name(factory)(plan.folder, **options), None

    return run_worker("spelling_transfer.study.worker", ["folder"], open_folder, arguments)


OpenStudy = tuple[StudyPlan, Objective, Callable[[Path], None] | None]
"""A study, whose folder is where the worker keeps its trials; what trains and scores them; `Worker`'s ``discard``."""


def run_worker(
    module: str, where: Sequence[str], open_study: Callable[..., OpenStudy], arguments: list[str] | None = None
) -> int:
    """Runs a worker until no trial is left or it is asked to stop; returns its exit code.

    Args:
        module: The module that is run.
        where: Names of the arguments that say where the study is.
        open_study: Gets their values and gives the study.
        arguments: Those of the command line by default.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    for name in where:
        parser.add_argument(name)
    parser.add_argument("--worker", type=int, default=0, help="its number, from 0")
    parser.add_argument("--token", default="", help="how its claims are signed")
    given = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # A flag alone: an exception in the middle of an evaluation would leave a checkpoint without its scores.
        signal.signal(number, lambda *_: stop.set())
    if os.environ.get(STOP_WITH_INPUT):
        threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    try:
        plan, objective, discard = open_study(*(getattr(given, name) for name in where))
        settings = plan.settings
        engine = open_engine(storage_url(settings.storage, plan.folder), patience_seconds=120.0)
        token = given.token or f"worker-{given.worker}-{uuid.uuid4().hex[:8]}"
        records = Records(engine, settings.name, stop=stop)
        Worker(objective, plan, records, token=token, stop=stop, discard=discard).run()
    except SpellingTransferError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201  (its starter reads the last line)
        return 1
    return 0


def _stop_at_end_of_input(stop: threading.Event) -> None:
    # The pipe closes when the process at its other end ends, however it does.
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
