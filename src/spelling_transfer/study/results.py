"""What a study found, in one place for page and document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.interfaces import counted
from spelling_transfer.study.patterns import FEWEST_TRIALS


@dataclass(frozen=True)
class StudyFindings:
    """The parts of the tuning as their nodes left them.

    Attributes:
        trials: ``trials``.
        curves: ``learning_curves``.
        seconds: ``trial_seconds``.
        analysis: ``transfer_analysis``.
        changes: ``transfer_by_trial``.
        patterns: ``training_patterns``.
        importance: ``parameter_importance``.
        best: ``best_config``.
        search_space: ``search_space``.
        environment: ``study_environment``.
        study: The settings of the study.
        defaults: The configuration that its trials varied.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    seconds: pd.DataFrame
    analysis: dict[str, Any]
    changes: pd.DataFrame
    patterns: pd.DataFrame
    importance: pd.DataFrame
    best: dict[str, Any]
    search_space: dict[str, Any]
    environment: dict[str, Any]
    study: StudySettings
    defaults: TrialConfig

    @property
    def finished(self) -> pd.DataFrame:
        """The trials that ended as they should."""
        return counted(self.trials)

    @property
    def confirmation(self) -> dict[str, Any]:
        """What the recommended configuration scored with new seeds."""
        return dict(self.best["confirmation"])

    @property
    def settings(self) -> list[str]:
        """Names of the settings that were varied."""
        return [name for name in self.trials.columns if "." in name]

    @property
    def settings_patterns(self) -> pd.DataFrame:
        """The gains by value of a setting that rest on enough trials to say something."""
        return self.patterns[(self.patterns["pattern"] == "setting") & (self.patterns["trials"] >= FEWEST_TRIALS)]

    @property
    def total_seconds(self) -> float:
        """Seconds of training and scoring of all trials."""
        return float(self.seconds["seconds"].sum())
