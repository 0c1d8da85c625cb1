"""A study that is tracked: watched by Weights & Biases, or chosen by one of its sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.executor import Objective, ObjectiveSource, StudyResult, run_study
from spelling_transfer.study.observer import StudyObserver
from spelling_transfer.tracking.wandb_observer import WandbObserver
from spelling_transfer.tracking.wandb_settings import TrackingSettings


def run_tracked_study(
    settings: StudySettings,
    defaults: TrialConfig,
    objective: Objective | ObjectiveSource,
    tracking: TrackingSettings,
    *,
    folder: Path,
    observers: Sequence[StudyObserver] = (),
) -> StudyResult:
    """Runs what is left to run of a study, and logs it.

    Args:
        settings: The study.
        defaults: The configuration its space varies.
        objective: Trains and scores one configuration, or makes what does.
        tracking: Whether and where it is logged.
        folder: The study's folder.
        observers: Others who watch it.

    Raises:
        TrackingError: A sweep chooses the trials, and its server cannot be reached; otherwise the tracking never fails.
        SpellingTransferError: As `spelling_transfer.study.executor.run_study`.
    """
    if settings.sweep:
        from spelling_transfer.tracking.wandb_sweep import run_sweep

        return run_sweep(settings, defaults, objective, tracking, folder=folder, observers=observers)
    watching = [*observers, WandbObserver(tracking, folder)]
    return run_study(settings, defaults, objective, folder=folder, observers=watching)
