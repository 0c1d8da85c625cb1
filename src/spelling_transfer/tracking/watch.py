"""A study in Weights & Biases: watched while it runs, or sent afterwards."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.study.interfaces import FINISHED_STATES, StudySnapshot
from spelling_transfer.tracking.delivery import Delivery, Ledger
from spelling_transfer.tracking.runs import (
    NETWORK_SECONDS,
    Target,
    TrackingError,
    TrackingSettings,
    find_target,
    require_target,
    stop_process,
)

_LOGGER = logging.getLogger(__name__)
_OFFLINE_SECONDS = 5.0
_AGAIN_SECONDS = 600.0
"""So long a study is logged offline before the server is tried again."""


class WandbObserver:
    """Logs a study to Weights & Biases: to files in the project's ``wandb`` folder, or to the server while it runs.

    Args:
        settings: The tracking.
        folder: The study's folder.
        ledger: What was sent before; read from the folder by default.
    """

    def __init__(self, settings: TrackingSettings, folder: Path, ledger: Ledger | None = None) -> None:
        self.settings = settings
        self.folder = folder
        self._ledger = ledger
        self._latest: StudySnapshot | None = None
        self._seen: StudySnapshot | None = None
        self._delivery: Delivery | None = None
        self._news = threading.Condition()
        self._ending = False
        self._warned = False
        self._thread: threading.Thread | None = None

    def update(self, study: StudySnapshot) -> None:
        """Takes note of where the study stands; returns at once."""
        if self.settings.mode == "disabled":
            return
        with self._news:
            self._latest = study
            self._news.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wandb", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the watch; waits a bounded time for what is still on its way."""
        with self._news:
            self._ending = True
            self._news.notify_all()
        if self._thread is not None:
            self._thread.join(NETWORK_SECONDS)
            if self._thread.is_alive():
                self._warn("not all of the study has arrived in time")
                # Else the end of this process would wait for it again. What is left is written offline.
                stop_process()
                self._thread.join(_OFFLINE_SECONDS)

    def _run(self) -> None:
        try:
            target = find_target(self.settings, self.folder)
            if target is None:
                return
            ledger = self._ledger or Ledger(self.folder)
            offline = Delivery(Target(self.settings, self.folder, online=False), ledger)
            while True:
                self._delivery = Delivery(target, ledger)
                if self._watch(self._delivery) or not target.online:
                    return
                stop_process()
                self._delivery = offline
                if self._watch(offline, _AGAIN_SECONDS) is not None:
                    return
        except Exception as error:  # noqa: BLE001  (a watcher never ends a study)
            self._warn(str(error))

    def _watch(self, delivery: Delivery, seconds: float = math.inf) -> bool | None:
        """Delivers until the end; returns whether all of it arrived, or ``None`` where the time is over before."""
        self._seen, until = None, time.monotonic() + seconds
        while True:
            with self._news:
                self._news.wait_for(lambda: self._ending or self._latest is not self._seen)
                ending, study = self._ending, self._latest
            if time.monotonic() > until and not ending:
                return None
            if study is None:
                return True
            try:
                delivery.deliver(study, live=True)
                if ending:
                    delivery.deliver_study(study)
                    delivery.close()
                    return True
            except Exception as error:  # noqa: BLE001  (also one of wandb's own)
                self._warn(str(error))
                return False
            with self._news:
                self._seen = study
                self._news.notify_all()

    def _warn(self, what: str) -> None:
        name = self._latest.name if self._latest else ""
        if not self._warned:
            _LOGGER.warning(
                "Weights & Biases: %s. Nothing is lost: 'kedro tune sync %s' sends what is missing.",
                what.rstrip("."),
                name,
            )
        self._warned = True


class NothingToSyncError(SpellingTransferError):
    """There is no study of this name."""


class SyncReport(NamedTuple):
    """What was sent.

    Attributes:
        sent: Numbers of the trials that were sent now.
        known: How many the server had.
        unfinished: How many trials have not ended yet; they are sent when they have.
        study: Whether the tables of the study were sent.
    """

    sent: list[int]
    known: int
    unfinished: int
    study: bool

    def __str__(self) -> str:
        parts = [f"{len(self.sent)} trials sent", f"{self.known} were there"]
        if self.unfinished:
            parts.append(f"{self.unfinished} have not ended yet")
        return ", ".join(parts) + "."


def sync_study(study: StudySnapshot, settings: TrackingSettings, folder: Path) -> SyncReport:
    """Sends what the server lacks of a study, whatever was logged while it ran.

    Args:
        study: The study, from its records.
        settings: The tracking; its mode does not matter.
        folder: The study's folder, where it is noted what was sent.

    Raises:
        TrackingError: Nobody is signed in, or the server cannot be reached in time; what was sent until then is noted.
    """
    target = require_target(settings, folder)
    delivery = Delivery(target, Ledger(folder))
    try:
        sent, known = delivery.deliver(study, live=False)
        sent_study = delivery.deliver_study(study)
    except TrackingError:
        stop_process()
        raise
    unfinished = sum(trial.state not in FINISHED_STATES for trial in study.trials)
    return SyncReport(sent, known, unfinished, sent_study)


def read_study(name: str, folder: Path, run: Mapping[str, Any] | None = None) -> StudySnapshot:
    """Reads a study from its records. A trial whose worker is gone is ``waiting``.

    Args:
        name: Its name.
        folder: Its folder.
        run: Settings of how it is run, which its records do not hold. Without ``n_trials`` those that were begun count
            as planned.

    Raises:
        NothingToSyncError: There is no study of this name.
        StorageError: Its database cannot be opened.
        StudyConfigError: Its records are of another version of this project, or of a study with another name.
    """
    from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
    from spelling_transfer.study.plan import StudyPlan
    from spelling_transfer.study.records import VERSION, Records
    from spelling_transfer.study.storage import FILE_NAME, open_engine, storage_url
    from spelling_transfer.study.watch import Snapshots
    from spelling_transfer.study.worker import is_lost

    run = {key: run[key] for key in ("heartbeat_seconds", "n_trials", "place", "storage") if run and key in run}
    storage = run.get("storage")
    if storage is None and not (folder / FILE_NAME).is_file():
        raise NothingToSyncError(f"{folder}: holds no study ({FILE_NAME}). Run it first with 'kedro tune'.")
    engine = open_engine(storage_url(storage, folder), read_only=True)
    try:
        records = Records(engine, name, patience_seconds=0.0)
        found = records.find()
        if found is None:
            if storage is None and (others := [each for each in records.names() if each != name]):
                raise StudyConfigError(f"{folder}: holds the study {others[0]!r}; give the folder that name again.")
            raise NothingToSyncError(f"{folder}: holds no study {name!r}. Run it first with 'kedro tune'.")
        identity = json.loads(found[0])
        try:
            settings = StudySettings.model_validate(identity["study"] | run)
            defaults = TrialConfig.model_validate(identity["trial"])
            if found[1] != VERSION:
                raise ValueError(f"format {found[1]}, this one reads {VERSION}")
        except ValueError as error:
            other = identity["data"].get("project_version", "?")
            raise StudyConfigError(
                f"{folder}: was written by version {other} of this project and cannot be read here."
            ) from error
        plan = StudyPlan(settings, defaults, folder)
        study = Snapshots(plan, records).take()
        alive = {row.number for row in records.running(lambda row, now: is_lost(row, now, settings.heartbeat_seconds))}
        trials = tuple(
            replace(trial, state="waiting") if trial.state == "running" and trial.number not in alive else trial
            for trial in study.trials
        )
        return replace(study, trials=trials, n_trials=max(len(trials), plan.n_trials if "n_trials" in run else 0))
    finally:
        engine.dispose()
