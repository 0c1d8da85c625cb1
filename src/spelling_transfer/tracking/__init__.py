"""Weights & Biases: a copy of a study to look at, or a sweep that chooses its trials.

A study's own records are complete without it. `run_tracked_study` runs a study and logs it, `sync_study` sends later
what the server lacks, `sweep_config` shows a search space as a sweep. Every wait for the network has a bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.tracking.evaluation import log_evaluation
    from spelling_transfer.tracking.runs import TrackingError, TrackingSettings
    from spelling_transfer.tracking.study import run_tracked_study
    from spelling_transfer.tracking.sweep import sweep_config
    from spelling_transfer.tracking.watch import NothingToSyncError, SyncReport, WandbObserver, read_study, sync_study

__all__ = [
    "NothingToSyncError",
    "SyncReport",
    "TrackingError",
    "TrackingSettings",
    "WandbObserver",
    "log_evaluation",
    "read_study",
    "run_tracked_study",
    "sweep_config",
    "sync_study",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "spelling_transfer.tracking.evaluation": ["log_evaluation"],
        "spelling_transfer.tracking.runs": ["TrackingError", "TrackingSettings"],
        "spelling_transfer.tracking.study": ["run_tracked_study"],
        "spelling_transfer.tracking.sweep": ["sweep_config"],
        "spelling_transfer.tracking.watch": [
            "NothingToSyncError",
            "SyncReport",
            "WandbObserver",
            "read_study",
            "sync_study",
        ],
    },
)
