"""Brings a study's runs to where they belong, each row once: what was sent is noted in a small file of the study."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import write_text
from spelling_transfer.storage.errors import BundleError
from spelling_transfer.storage.study_place import StudyPlace
from spelling_transfer.study.interfaces import COUNTED_STATES, FINISHED_STATES, StudySnapshot, TrialSnapshot
from spelling_transfer.tracking.rows import (
    SCORE,
    history,
    run_config,
    run_name,
    summary,
    transfer_table,
    trial_table,
)
from spelling_transfer.tracking.runs import Target, TrackedRun

FILE_NAME = "wandb.json"
_VERSION = 1
_STUDY = "study"
_LOGGER = logging.getLogger(__name__)
_SCATTERS = {
    "transfer/position_scatter": ("transfer", "spelling gain", "position gain"),
    "transfer/count_scatter": ("transfer", "spelling gain", "count gain"),
}


class LedgerError(SpellingTransferError):
    """The file of what was sent cannot be read or written."""


class Ledger:
    """Remembers what was sent of one study.

    The id of a run comes from a token of the study and the trial's number: the same however often it is sent, and
    another one for another study of the same name.

    Args:
        folder: The study's folder.

    Raises:
        LedgerError: The file is there but not readable.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / FILE_NAME
        self._data: dict[str, Any] = {
            "version": _VERSION,
            "token": uuid.uuid4().hex,
            "sweep": None,
            "runs": {},
            "sent": {},
        }
        try:
            found = json.loads(self.file.read_text(encoding="utf-8"))
            if found["version"] != _VERSION:
                raise ValueError(f"version {found['version']}, this release reads {_VERSION}")
            self._data = {name: found[name] for name in self._data}
        except FileNotFoundError:
            self._write()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LedgerError(
                f"{self.file}: records what Weights & Biases has of the study, and cannot be read ({error!r}). Restore "
                "it; without it the study would be sent a second time, as other runs."
            ) from error

    def run_id(self, number: int | None) -> str:
        """Returns the id of a trial's run, or of the study's own where ``number`` is ``None``."""
        key = _STUDY if number is None else str(number)
        given = self._data["runs"].get(key)
        return given or hashlib.sha256(f"{self._data['token']}/{key}".encode()).hexdigest()[:12]

    @property
    def sweep(self) -> str | None:
        """The id of the sweep that chooses the trials, if one does."""
        return None if self._data["sweep"] is None else str(self._data["sweep"])

    def note_sweep(self, sweep: str) -> None:
        """Notes that a sweep chooses the trials."""
        self._data["sweep"] = sweep
        self._write()

    def sweep_of(self, number: int) -> str | None:
        """Returns the sweep that chose a trial, if one did."""
        return self.sweep if str(number) in self._data["runs"] else None

    def adopt(self, number: int, run_id: str) -> None:
        """Notes that a trial's run was made by the sweep, under an id of its own."""
        self._data["runs"][str(number)] = run_id
        self._write()

    def was_sent(self, target: str, number: int) -> bool:
        """Whether a finished trial was sent as a whole."""
        return str(number) in self._data["sent"].get(target, {})

    def sent(self, target: str, number: int) -> None:
        """Notes that a finished trial was sent as a whole."""
        self._data["sent"].setdefault(target, {})[str(number)] = True
        self._write()

    def study_sent(self, target: str) -> int:
        """Returns how many finished trials the study's own run spoke of when it was sent last."""
        return int(self._data["sent"].get(target, {}).get(_STUDY, 0))

    def note_study(self, target: str, n_finished: int) -> None:
        """Notes that the study's own run was sent."""
        self._data["sent"].setdefault(target, {})[_STUDY] = n_finished
        self._write()

    def _write(self) -> None:
        try:
            write_text(self.file, json.dumps(self._data, indent=2) + "\n")
        except OSError as error:
            raise LedgerError(f"{self.file}: cannot be written ({error.strerror}).") from error


class Delivery:
    """Sends what a target lacks of a study.

    Offline, a trial is written once it has ended. Online, running trials are sent, too, each row once it is complete.

    Args:
        target: Where the runs go.
        ledger: What was sent before.
    """

    def __init__(self, target: Target, ledger: Ledger) -> None:
        self.target = target
        self.ledger = ledger
        self._open: dict[int, TrackedRun] = {}
        self._steps: dict[int, int] = {}
        self._said = False

    def deliver(self, study: StudySnapshot, *, live: bool) -> tuple[list[int], int]:
        """Sends what is new.

        Args:
            study: Where the study stands.
            live: Whether running trials are sent as well.

        Returns:
            Numbers of the trials that are there as a whole now and were not before, and how many were there before.

        Raises:
            TrackingError: The server cannot be reached in time; what was sent until then is noted.
        """
        sent, known = [], 0
        for trial in study.trials:
            if self.ledger.was_sent(self.target.name, trial.number):
                known += 1
            elif trial.state in FINISHED_STATES:
                self._finish(study, trial)
                sent.append(trial.number)
            elif live and self.target.online and trial.state == "running":
                self._follow(study, trial)
        return sent, known

    def deliver_study(self, study: StudySnapshot) -> bool:
        """Sends the study's own run, with its tables and the transfer scatter, unless it was sent with these trials."""
        n_finished = sum(trial.state in FINISHED_STATES for trial in study.trials)
        if n_finished <= self.ledger.study_sent(self.target.name):
            return False
        # Online the run of an earlier call is resumed; offline there is one more file for the same run.
        run_id = self.ledger.run_id(None)
        config = {name: value for name, value in study.settings.items() if name != "storage"}
        run = TrackedRun(self.target, run_id, f"{study.name} (all trials)", study.name, "study", config)
        tables = {"trials": trial_table(study), "transfer": transfer_table(study)}
        run.log_tables(n_finished, tables, _SCATTERS if tables["transfer"].rows else {})
        ranked = [trial for trial in study.trials if trial.state in COUNTED_STATES and trial.curve]
        best = {f"best/{SCORE}": max(summary(study, trial)[SCORE] for trial in ranked)} if ranked else {}
        run.summarise({"trials": n_finished, "planned": study.n_trials, **best})
        run.finish()
        self.ledger.note_study(self.target.name, n_finished)
        return True

    def close(self) -> None:
        """Ends the runs of trials that have not ended; they are resumed when the study is."""
        while self._open:
            _, run = self._open.popitem()
            run.finish(failed=True)

    def _run(self, study: StudySnapshot, trial: TrialSnapshot, upload_bytes: int = 0) -> TrackedRun:
        run = TrackedRun(
            self.target,
            self.ledger.run_id(trial.number),
            run_name(trial),
            study.name,
            "trial",
            run_config(study, trial),
            sweep=self.ledger.sweep_of(trial.number),
            upload_bytes=upload_bytes,
        )
        if run.project_url and not self._said:
            self._said = True
            text = "%s is sent to Weights & Biases: %s (tracking.mode: disabled sends nothing)."
            _LOGGER.info(text, study.name, run.project_url)
        return run

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
        adapter = self._adapter(study, trial)
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

    def _adapter(self, study: StudySnapshot, trial: TrialSnapshot) -> Path | None:
        if not (trial.adapter and self.target.online and self.target.settings.log_adapters):
            return None
        folder, place = Path(trial.adapter), study.settings.get("place")
        if place and not folder.is_dir():  # of a worker elsewhere
            with suppress(BundleError):
                StudyPlace(place, study.name).fetch(folder.parent)
        if folder.is_dir():
            return folder
        _LOGGER.warning("%s: the adapter of trial %d is not there any more.", folder, trial.number)
        return None
