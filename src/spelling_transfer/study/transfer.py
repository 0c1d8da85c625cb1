"""Does spelling carry over? Changes of each task against the base model, within a trial and across trials.

What is found here speaks of trials against the base model. It is no claim of transfer: that needs the control arm of
the evaluation.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.statistics.correlation import correlate
from spelling_transfer.statistics.intervals import NO_INTERVAL, Interval, ratio_interval
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import SCORED_TASKS, StudyResamples
from spelling_transfer.study.choices import NUMBERED
from spelling_transfer.study.interfaces import Evaluation, counted
from spelling_transfer.tasks.registry import UNTRAINED_TASKS

FEW_TRIALS = 20
"""Below this, a rank correlation between trials says next to nothing: its 95% interval is wider than ±0.4."""


def measure_changes(trials: pd.DataFrame, resamples: StudyResamples) -> pd.DataFrame:
    """Returns how each trial changed each task, against the base model on the same questions.

    Args:
        trials: One row a trial, as the executor leaves them.
        resamples: The trials' scores in resamples of word families.

    Returns:
        One row a trial and task: ``number``, ``state``, ``task``, ``base``, ``score``, ``gain`` with ``low`` and
        ``high``, its ``verdict``, ``gap_closed`` with ``gap_low`` and ``gap_high``, and ``ratio`` (gain over spelling
        gain) with ``ratio_low`` and ``ratio_high``: missing for spelling, and where the interval of the spelling gain
        holds zero, as a ratio to what may be nothing can be anything.
    """
    states = trials.set_index("number")["state"]
    gains, gaps, ratios = resamples.gains(), resamples.gaps_closed(), resamples.ratios()
    rows = []
    for place, number in enumerate(resamples.numbers):
        spelling_moved = gains.interval(place, 0).excludes(0.0)
        for column, task in enumerate(SCORED_TASKS):
            gain, gap = gains.interval(place, column), gaps.interval(place, column)
            has_ratio = spelling_moved and task in UNTRAINED_TASKS
            ratio: Interval = ratio_interval(ratios.resamples[:, place, column]) if has_ratio else NO_INTERVAL
            rows.append(
                {
                    "number": number,
                    "state": states[number],
                    "task": task,
                    "base": float(resamples.base.value[column]),
                    "score": float(resamples.trials.value[place, column]),
                    "gain": float(gains.value[place, column]),
                    "low": gain.low,
                    "high": gain.high,
                    "verdict": gain.verdict,
                    "gap_closed": float(gaps.value[place, column]),
                    "gap_low": gap.low,
                    "gap_high": gap.high,
                    "ratio": float(ratios.value[place, column]) if has_ratio else float("nan"),
                    "ratio_low": ratio.low,
                    "ratio_high": ratio.high,
                }
            )
    return pd.DataFrame(rows)


def analyse_transfer(
    trials: pd.DataFrame,
    curves: pd.DataFrame,
    base: Evaluation,
    *,
    sampler: str,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Returns how the gains of the trials go together, over trials and within them.

    Args:
        trials: One row a trial, as the executor leaves them.
        curves: One row an evaluation.
        base: Scores of the base model on the same validation questions.
        sampler: How the trials were chosen.
        bootstrap: How trials are resampled.

    Returns:
        ``base`` scores; ``over_trials``: for position and count, Spearman's correlation of their gain with spelling
        gain and the partial one given steps, each with its interval from resampled trials; ``within_trials``: the
        correlation of changes between two evaluations of the same trial, with its interval from resampled trials;
        ``counts`` of trials by state, ``evaluations``, and ``warnings``.
    """
    start = {task: float(getattr(base, task)) for task in SCORED_TASKS}
    kept = counted(trials)
    changes = _changes_within(curves[curves["number"].isin(kept["number"])], start)
    over, within = {}, {}
    for task in UNTRAINED_TASKS:
        pair = kept["spelling"] - start["spelling"], kept[task] - start[task]
        over[task] = {
            "spearman": correlate(*pair, bootstrap=bootstrap),
            "partial_given_steps": correlate(*pair, kept["steps"], bootstrap=bootstrap),
        }
        within[task] = correlate(changes["spelling"], changes[task], groups=changes["number"], bootstrap=bootstrap)
    return {
        "base": start,
        "over_trials": over,
        "within_trials": within,
        "counts": {str(state): int(n) for state, n in trials["state"].value_counts().sort_index().items()},
        "evaluations": len(curves),
        "steps_vary": bool(kept["steps"].nunique() > 1),
        "warnings": warnings_of(trials, sampler),
    }


def warnings_of(trials: pd.DataFrame, sampler: str) -> list[str]:
    """Returns what a reader must know before believing anything about trials as a sample of the space."""
    found = []
    n = len(counted(trials))
    if n < FEW_TRIALS:
        found.append(
            f"{n} finished trial{'' if n == 1 else 's'}: too few to say how settings or gains go together; at least "
            f"{FEW_TRIALS} are needed."
        )
    if sampler not in NUMBERED and n > 1:
        found.append(
            f"The {sampler} sampler chose later trials by the results of earlier ones, so trials are no random sample "
            "of the space: correlations and importances describe where it looked. A random study would tell more."
        )
    pruned = int(trials["state"].eq("pruned").sum())
    if pruned:
        found.append(
            f"{pruned} pruned trial{' was' if pruned == 1 else 's were'} left out of correlations and importances, "
            "which leaves those that looked good early."
        )
    failed = int(trials["state"].eq("failed").sum())
    if failed:
        found.append(
            f"{failed} trial{'' if failed == 1 else 's'} failed and {'is' if failed == 1 else 'are'} left out."
        )
    return found


def _changes_within(curves: pd.DataFrame, start: dict[str, float]) -> pd.DataFrame:
    frames = []
    for number, curve in curves.sort_values("step", kind="stable").groupby("number"):
        scores = pd.concat([pd.DataFrame([start]), curve[list(SCORED_TASKS)]], ignore_index=True)
        frames.append(scores.diff().iloc[1:].assign(number=number))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*SCORED_TASKS, "number"])
