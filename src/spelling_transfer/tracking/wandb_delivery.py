"""Brings a study's runs to where they belong: the same steps while it runs and afterwards."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from spelling_transfer.study.observer import StudySnapshot, TrialSnapshot
from spelling_transfer.tracking.wandb_ledger import Ledger
from spelling_transfer.tracking.wandb_rows import (
    FINISHED,
    SCORE,
    history,
    run_config,
    run_name,
    summary,
    transfer_table,
    trial_table,
)
from spelling_transfer.tracking.wandb_runs import Target, TrackedRun

_LOGGER = logging.getLogger(__name__)
_SCATTERS = {
    "transfer/position_scatter": ("transfer", "spelling gain", "position gain"),
    "transfer/count_scatter": ("transfer", "spelling gain", "count gain"),
}


class Delivered(NamedTuple):
    """What one delivery did.

    Attributes:
        trials: Numbers of the trials that are there as a whole now and were not before.
        known: How many were there before.
        study: Whether the study's own run was sent.
    """

    trials: list[int]
    known: int
    study: bool


class Delivery:
    """Sends what a target lacks of a study.

    Offline, a trial is written once it has ended: nobody looks at such files before. Online, running trials are sent,
    too, each row once it cannot grow any more.

    Args:
        target: Where the runs go.
        ledger: What was sent before.
    """

    def __init__(self, target: Target, ledger: Ledger) -> None:
        self.target = target
        self.ledger = ledger
        self._open: dict[int, TrackedRun] = {}
        self._steps: dict[int, int] = {}

    def deliver(self, study: StudySnapshot, *, live: bool) -> Delivered:
        """Sends what is new.

        Args:
            study: Where the study stands.
            live: Whether running trials are sent as well.

        Raises:
            TrackingError: The server cannot be reached in time; what was sent until then is noted.
        """
        sent, known = [], 0
        for trial in study.trials:
            if self.ledger.was_sent(self.target.name, trial.number):
                known += 1
            elif trial.state in FINISHED:
                self._finish(study, trial)
                sent.append(trial.number)
            elif live and self.target.online and trial.state == "running":
                self._follow(study, trial)
        return Delivered(sent, known, False)

    def deliver_study(self, study: StudySnapshot) -> bool:
        """Sends the study's own run, with its tables and the transfer scatter, unless it was sent with these trials.

        Raises:
            TrackingError: The server cannot be reached in time.
        """
        n_finished = sum(trial.state in FINISHED for trial in study.trials)
        if n_finished <= self.ledger.study_sent(self.target.name):
            return False
        # Online the run of an earlier call is gone on with; offline there is one more file for the same run.
        run_id = self.ledger.run_id(None)
        run = TrackedRun(self.target, run_id, f"{study.name} (all trials)", study.name, "study", dict(study.settings))
        tables = {"trials": trial_table(study), "transfer": transfer_table(study)}
        run.log_tables(n_finished, tables, _SCATTERS if tables["transfer"].rows else {})
        best = max((summary(study, trial).get(SCORE, 0.0) for trial in study.trials), default=0.0)
        run.summarise({"trials": n_finished, "planned": study.n_trials, f"best/{SCORE}": best})
        run.finish()
        self.ledger.note_study(self.target.name, n_finished)
        return True

    def close(self) -> None:
        """Ends the runs of trials that have not ended; they are gone on with when the study is.

        Raises:
            TrackingError: The server cannot be reached in time.
        """
        while self._open:
            _, run = self._open.popitem()
            run.finish(failed=True)

    def _run(self, study: StudySnapshot, trial: TrialSnapshot, upload_bytes: int = 0) -> TrackedRun:
        return TrackedRun(
            self.target,
            self.ledger.run_id(trial.number),
            run_name(trial),
            study.name,
            "trial",
            run_config(study, trial),
            sweep=self.ledger.sweep_of(trial.number),
            upload_bytes=upload_bytes,
        )

    def _follow(self, study: StudySnapshot, trial: TrialSnapshot) -> None:
        rows = history(study, trial)
        # Loss and scores of one step are recorded one after the other, so a step that was the last one a moment ago may
        # have grown since; it is sent when there is a later one.
        settled = self._steps.get(trial.number, -1)
        self._steps[trial.number] = rows[-1].step if rows else -1
        ready = [row for row in rows if row.step < settled]
        if ready:
            if trial.number not in self._open:
                self._open[trial.number] = self._run(study, trial)
            self._open[trial.number].log(ready)

    def _finish(self, study: StudySnapshot, trial: TrialSnapshot) -> None:
        adapter = self._adapter(trial)
        size = sum(file.stat().st_size for file in adapter.rglob("*") if file.is_file()) if adapter else 0
        failed = trial.state == "failed"
        run = self._open.pop(trial.number, None)
        if run is not None and adapter is not None:
            # It was opened before the size of its adapter was known.
            self._complete(run, study, trial)
            run.finish(failed=failed)
            run = None
        run = run or self._run(study, trial, size)
        self._complete(run, study, trial)
        if adapter is not None:
            run.log_adapter(adapter, f"{study.name}-{trial.number:03d}", summary(study, trial))
        run.finish(failed=failed)
        self.ledger.sent(self.target.name, trial.number)

    @staticmethod
    def _complete(run: TrackedRun, study: StudySnapshot, trial: TrialSnapshot) -> None:
        run.log(history(study, trial))
        run.summarise(summary(study, trial))

    def _adapter(self, trial: TrialSnapshot) -> Path | None:
        if not (trial.adapter and self.target.online and self.target.settings.log_adapters):
            return None
        folder = Path(trial.adapter)
        if folder.is_dir():
            return folder
        _LOGGER.warning("%s: the adapter of trial %d is not there any more.", folder, trial.number)
        return None
