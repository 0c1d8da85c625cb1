"""A worker takes trials from a study's records until none is left: in the study's own process, or as one of many.

python -m spelling_transfer.study.worker FOLDER --worker 0
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import shutil
import signal
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import psutil

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.study.choices import most_steps
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.executor import Objective, TrialFailedError
from spelling_transfer.study.history import History
from spelling_transfer.study.monitor import (
    Heartbeat,
    TrialInterruptedError,
    TrialMonitor,
    follow_records,
    scored_row,
)
from spelling_transfer.study.records import (
    BASE_NUMBER,
    HEARTBEATS_TO_STALE,
    ClaimLostError,
    Proposal,
    Records,
    TrialRow,
)
from spelling_transfer.study.space import SearchSpace
from spelling_transfer.study.storage import StorageError, is_disk_full

_LOGGER = logging.getLogger(__name__)

STOP_WITH_INPUT = "SPELLING_TRANSFER_STOP_WITH_INPUT"
"""Environment variable: a worker ends when its standard input does, as it does when its parent is killed."""


class Worker:
    """Takes trials and runs them, one after the other.

    Args:
        objective: Trains and scores one configuration.
        settings: The study.
        space: Its space.
        records: Its records.
        folder: Its folder, for checkpoints.
        n_trials: Trials planned.
        token: How the worker's claims are signed; its starter can let go of them by it.
        stop: Set when it is to stop.
    """

    def __init__(
        self,
        objective: Objective,
        settings: StudySettings,
        space: SearchSpace,
        records: Records,
        folder: Path,
        *,
        n_trials: int,
        token: str,
        stop: threading.Event,
    ) -> None:
        self.objective = objective
        self.settings = settings
        self.space = space
        self.records = records
        self.folder = folder
        self.n_trials = n_trials
        self.token = token
        self.stop = stop
        self._sampling: History | None = None
        self._judging: History | None = None

    def run(self) -> None:
        """Takes trials until none is left to take, or until it is asked to stop.

        Raises:
            SpellingTransferError: Something is wrong that the next trial would not mend; the trial is let go.
        """
        while not self.stop.is_set():
            row = self.records.claim(self._owner(), self.n_trials, self._propose, is_dead=self._is_dead)
            if row is None:
                return
            if row.number == BASE_NUMBER:
                self._score_base(row)
            else:
                self._run_trial(row)

    def _owner(self) -> str:
        return "/".join([self.token, process_signature(os.getpid()), uuid.uuid4().hex[:8]])

    def _is_dead(self, row: TrialRow, time: float) -> bool:
        return time - row.beat > HEARTBEATS_TO_STALE * self.settings.heartbeat_seconds or is_dead_process(
            row.owner.partition("/")[2]
        )

    def _propose(self, number: int) -> Proposal | None:
        from spelling_transfer.study.samplers import draw, make_pruner, make_sampler

        if self._sampling is None:
            # With the pruner: TPE learns within the brackets of Hyperband.
            pruner = make_pruner(self.settings, most_steps(self.space))
            self._sampling = in_memory(self.settings.name, make_sampler(self.settings, self.space), pruner)
        follow_records(self._sampling, self.records)
        return self._sampling.propose(number, lambda trial: draw(trial, self.space))

    def _judge(self) -> History | None:
        if self.settings.pruner == "none":
            return None
        if self._judging is None:
            from spelling_transfer.study.samplers import make_pruner

            pruner = make_pruner(self.settings, most_steps(self.space))
            self._judging = in_memory(self.settings.name, None, pruner)
        return self._judging

    def _run_trial(self, row: TrialRow) -> None:
        folder = self.folder / "trials" / f"{row.number:04d}"
        monitor = TrialMonitor(row, self.records, self._judge(), self.settings, folder, self.stop)
        try:
            with Heartbeat(monitor.beat, self.settings.heartbeat_seconds / 2):
                outcome = self.objective(config_of(row, self.settings, self.space), monitor)
            adapter = folder / "adapter"
            monitor.finish(outcome, str(adapter) if adapter.is_dir() else "")
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        except TrialInterruptedError:
            monitor.let_go()
        except ClaimLostError:
            _LOGGER.warning("Trial %d was taken over by another worker.", row.number)
        except TrialFailedError as error:
            monitor.fail(str(error))
        except (SpellingTransferError, KeyboardInterrupt) as error:
            self._let_go(monitor, error)
            raise
        except Exception as error:
            if is_disk_full(error, self.folder):
                full = StorageError(
                    f"{self.folder}: no room is left on its disk ({shutil.disk_usage(self.folder).free / 1e6:.0f} MB). "
                    "Make room and run the study again: it goes on where it stopped."
                )
                self._let_go(monitor, full)
                raise full from error
            _LOGGER.warning("Trial %d failed.", row.number, exc_info=error)
            monitor.fail(f"{type(error).__name__}: {error}")

    @staticmethod
    def _let_go(monitor: TrialMonitor, error: BaseException) -> None:
        try:
            monitor.let_go("" if isinstance(error, KeyboardInterrupt) else str(error))
        except (ClaimLostError, StorageError):
            _LOGGER.debug("The trial could not be let go; its silence will tell.")

    def _score_base(self, row: TrialRow) -> None:
        monitor = TrialMonitor(row, self.records, None, self.settings, self.folder, self.stop)
        try:
            with Heartbeat(monitor.beat, self.settings.heartbeat_seconds / 2):
                evaluation = self.objective.evaluate(0)  # type: ignore[attr-defined]
            scored = {**scored_row(evaluation, self.settings), "verdict": "complete"}
            self.records.write(row, records=[("evaluation", scored)], state="complete", seconds=monitor.seconds)
        except ClaimLostError:
            return
        except BaseException as error:
            self._let_go(monitor, error)
            raise


def in_memory(name: str, sampler: Any, pruner: Any) -> History:
    """Returns a view of Optuna's in this process's memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return History(
        lambda: optuna.create_study(
            study_name=name,
            direction="maximize",
            sampler=sampler or optuna.samplers.RandomSampler(),
            pruner=pruner,
        )
    )


def config_of(row: TrialRow, settings: StudySettings, space: SearchSpace) -> TrialConfig:
    """Returns the configuration of a trial: the defaults, what the search chose, the seed of its number."""
    return space.defaults.varied({**row.proposal.choices, "training.seed": settings.trial_seed(row.number)})


def process_signature(pid: int) -> str:
    """Returns what tells a process from all others: machine, id, time of birth."""
    return f"{platform.node()}/{pid}/{psutil.Process(pid).create_time():.2f}"


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
    from spelling_transfer.study.launch import open_launch

    parser = argparse.ArgumentParser(prog="python -m spelling_transfer.study.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="the study's folder")
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
        launch = open_launch(given.folder)
        token = given.token or f"worker-{given.worker}-{uuid.uuid4().hex[:8]}"
        launch.worker(token, stop).run()
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
