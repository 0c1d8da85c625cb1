"""Nodes of the tuning that look at trials: what transferred, its figures, its page."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.pages import study_figures as figures
from spelling_transfer.pages.documents import write_study_document
from spelling_transfer.pages.study import render_tuning_page
from spelling_transfer.pipelines.reports import take_figures
from spelling_transfer.study.config import AnalysisSettings, StudySettings, TrialConfig
from spelling_transfer.study.correctness import resample_correctness
from spelling_transfer.study.findings import StudyFindings, analyse_transfer, find_patterns, measure_changes
from spelling_transfer.study.interfaces import Evaluation


def analyse(
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    trial_marks: pd.DataFrame,
    base: dict[str, Any],
    study: StudySettings,
    analysis: AnalysisSettings,
) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """Measures how each trial changed each task, how the gains go together, and which training helps where."""
    start = Evaluation(**base)
    found = analyse_transfer(
        trials,
        curves,
        start,
        sampler=study.sampler,
        startup_trials=study.startup_trials,
        bootstrap=analysis.bootstrap,
    )
    changes = measure_changes(trials, resample_correctness(trial_marks, analysis.bootstrap))
    return found, changes, find_patterns(trials, trial_marks, found["base"], analysis.bootstrap)


def plot(
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    trial_seconds: pd.DataFrame,
    base: dict[str, Any],
    transfer_by_trial: pd.DataFrame,
    training_patterns: pd.DataFrame,
    parameter_importance: pd.DataFrame,
    search_space: dict[str, Any],
    recommendation: dict[str, Any],
) -> tuple[Any, ...]:
    """Draws what transferred (by step, by trial, by kind of word) and what the search tried, found and cost."""
    best = int(recommendation["trial"])
    return (
        figures.plot_learning_curves(curves, base, best),
        figures.plot_transfer(transfer_by_trial, best),
        figures.plot_transfer_paths(curves, base, best),
        figures.plot_patterns(training_patterns),
        figures.plot_pareto(trials, base, best),
        figures.plot_importance(parameter_importance),
        figures.plot_parallel(trials, search_space),
        figures.plot_history(trials, trial_seconds),
    )


def report(*, study: StudySettings, defaults: TrialConfig, run_env: str, **inputs: Any) -> tuple[str, str]:
    """Writes the page of the study, and its findings as a document; the inputs are those of ``StudyFindings``."""
    drawn = take_figures(inputs)
    found = StudyFindings(study=study, defaults=defaults, **inputs)
    return render_tuning_page(found, drawn, env=run_env), write_study_document(found)
