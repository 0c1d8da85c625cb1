"""The page of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from spelling_transfer.reporting.page import Card, Section, Table, render_page
from spelling_transfer.study.config import StudySettings
from spelling_transfer.study.scores import SCORED_TASKS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def render_tuning_page(
    trials: pd.DataFrame,
    transfer_analysis: dict[str, Any],
    best_config: dict[str, Any],
    trial_seconds: pd.DataFrame,
    *,
    curves: Figure,
    transfer: Figure,
    study: StudySettings,
) -> str:
    """Returns the study's page: what was tried, what it scored, what carried over, what to take."""
    base = transfer_analysis["base"]
    best = trials.set_index("number").loc[best_config["trial"]]
    cards = [
        Card(task, f"{best[task]:.1%}", f"base {base[task]:.1%}", "good" if best[task] > base[task] else "neutral")
        for task in SCORED_TASKS
    ]
    sections = [
        Section("The best trial", text=_summary(trials, best_config, study), cards=cards),
        Section(
            "Learning curves",
            figure=curves,
            caption="Exact match on validation words; step 0 is the base model.",
        ),
        Section(
            "Does spelling carry over?",
            text=[*_correlations(transfer_analysis), *transfer_analysis["warnings"]],
            figure=transfer,
            caption="Gain over the base model in points, one point a trial and task.",
        ),
        Section("Trials", table=Table(trials.merge(trial_seconds, on="number"))),
        Section("Recommended configuration", code=yaml.safe_dump(best_config["config"], sort_keys=False)),
    ]
    return render_page(f"Tuning: {study.name}", sections, subtitle=f"Focus: {study.focus}")


def _summary(trials: pd.DataFrame, best_config: dict[str, Any], study: StudySettings) -> str:
    counts = trials["state"].value_counts()
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    text = (
        f"{len(trials)} trials ({states}) with the {study.sampler} sampler. Trial {best_config['trial']} has the best "
        f"transfer score on validation words, {best_config['transfer_score']:.3f}"
    )
    runner_up = best_config["runner_up_transfer_score"]
    if runner_up is not None:
        text += f"; the next one has {runner_up:.3f}"
    return (
        f"{text}. These are scores on {study.validation_words} validation words a task, which chose the trial; the "
        "evaluation on held-out test words is the one to believe."
    )


def _correlations(analysis: dict[str, Any]) -> list[str]:
    lines = []
    for task, result in analysis["spearman"].items():
        if result["rho"] is None:
            lines.append(f"Spelling and {task}: the gains do not vary enough over {result['n']} trials to correlate.")
        else:
            lines.append(
                f"Spelling and {task}: Spearman's ρ {result['rho']:+.2f} over {result['n']} trials "
                f"(p {result['p']:.2f})."
            )
    return lines
