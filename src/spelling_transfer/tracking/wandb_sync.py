"""Sends to Weights & Biases what it lacks of a study; a second time there is nothing to send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.study.observer import StudySnapshot
from spelling_transfer.tracking.wandb_settings import TrackingSettings


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
    from spelling_transfer.tracking.wandb_delivery import Delivery
    from spelling_transfer.tracking.wandb_ledger import Ledger
    from spelling_transfer.tracking.wandb_rows import FINISHED
    from spelling_transfer.tracking.wandb_runs import TrackingError, let_go, require_target

    target = require_target(settings, folder)
    delivery = Delivery(target, Ledger(folder))
    try:
        done = delivery.deliver(study, live=False)
        sent_study = delivery.deliver_study(study)
    except TrackingError:
        let_go()
        raise
    unfinished = sum(trial.state not in FINISHED for trial in study.trials)
    return SyncReport(done.trials, done.known, unfinished, sent_study)


def read_study(name: str, folder: Path, storage: str | None = None) -> StudySnapshot:
    """Reads a study from its records.

    Args:
        name: Its name.
        folder: Its folder.
        storage: URL of its database; the file in its folder by default.

    Raises:
        NothingToSyncError: There is no study of this name.
        StorageError: Its database cannot be opened.
    """
    from spelling_transfer.study.config import StudySettings, TrialConfig
    from spelling_transfer.study.records import Records
    from spelling_transfer.study.snapshot import Snapshots
    from spelling_transfer.study.space import read_space
    from spelling_transfer.study.storage import FILE_NAME, open_engine, storage_url

    if storage is None and not (folder / FILE_NAME).is_file():
        raise NothingToSyncError(f"{folder}: holds no study ({FILE_NAME}). Run it first with 'kedro tune'.")
    engine = open_engine(storage_url(storage, folder))
    try:
        records = Records(engine, name, patience_seconds=0.0)
        found = records.find()
        if found is None:
            raise NothingToSyncError(f"{folder}: holds no study {name!r}. 'kedro tune' says what its name was.")
        identity = json.loads(found[0])
        settings = StudySettings.model_validate(identity["study"])
        defaults = TrialConfig.model_validate(identity["trial"])
        n_trials = sum(row.number >= 0 for row in records.trials())
        return Snapshots(settings, read_space(settings.space, defaults), records, n_trials).take()
    finally:
        engine.dispose()
