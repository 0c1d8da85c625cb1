"""Against the control arm: what is left of a change once what the form of the answers explains is taken off.

The control arm has the same steps on the same prompts as the fine-tuned model, with the letters of other words. It
learns the form of question and answer and nothing of spelling. Both arms start from the base model, so the change of
one less the change of the other is the paired difference between the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from spelling_transfer.evaluation.comparison import compare_arms, comparison_row, pair_arms
from spelling_transfer.evaluation.sampling import MAIN_WORD_SET
from spelling_transfer.statistics.intervals import (
    CONFIDENCE,
    N_RESAMPLES,
    NO_INTERVAL,
    FloatArray,
    Interval,
    family_bootstrap,
    paired_difference,
)
from spelling_transfer.tasks.registry import CORE_TASKS, TRAINED_TASK


def control_questions(sample: pd.DataFrame) -> pd.DataFrame:
    """Returns the questions the control arm is asked: those that claims are about."""
    return sample[sample["task"].isin(CORE_TASKS) & (sample["word_set"] == MAIN_WORD_SET)].reset_index(drop=True)


def pair_with_control(marked: pd.DataFrame, control: str, arm: str) -> pd.DataFrame:
    """Returns one row a question the control arm was asked; see ``pair_arms``."""
    asked = set(marked.loc[marked["arm"] == control, "example_id"])
    return pair_arms(marked[marked["example_id"].isin(asked)], control, arm)


def compare_with_control(
    pairs: pd.DataFrame,
    control: str,
    arm: str,
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Compares an arm with its control, task by task, and relates each task's change to that of spelling.

    Args:
        pairs: What ``pair_with_control`` returns.
        control: Name of the control arm.
        arm: Name of the other.
        confidence: Confidence level of all intervals.
        n_resamples: Bootstrap resamples of word families.
        seed: Seed of the resampling.

    Returns:
        The rows of ``compare_arms``, whose ``difference`` is adjusted for the control, and one row a task of the
        measure ``transfer_ratio`` (the ratio stands under ``difference``); there is none where the interval of the
        spelling difference holds zero, or where a resample leaves no difference in spelling to divide by.
    """
    comparison = compare_arms(pairs, control, arm, confidence=confidence, n_resamples=n_resamples, seed=seed)
    by_task = {str(task): rows for task, rows in pairs.groupby("task", sort=False)}
    rows = []
    for task in (task for task in CORE_TASKS if task != TRAINED_TASK and task in by_task):
        ratio, interval = transfer_ratio(by_task, task, confidence=confidence, n_resamples=n_resamples, seed=seed)
        if ratio is None or math.isnan(interval.low):
            continue
        rows.append(
            comparison_row(
                measure="transfer_ratio",
                task=task,
                group="all",
                value="all",
                reference=control,
                arm=arm,
                n=len(by_task[task]),
                families=by_task[task]["stem"].nunique(),
                difference=ratio,
                reference_interval=NO_INTERVAL,
                arm_interval=NO_INTERVAL,
                interval=interval,
            )
        )
    return pd.concat([comparison, pd.DataFrame(rows)], ignore_index=True) if rows else comparison


def transfer_ratio(
    pairs: Mapping[str, pd.DataFrame],
    task: str,
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[float | None, Interval]:
    """Returns a task's difference for each point of difference in spelling, with its interval.

    Args:
        pairs: One frame a task, with the columns ``stem`` (the family), ``reference`` and ``arm`` (right or not).
        task: The task.
        confidence: Two-sided confidence level.
        n_resamples: Bootstrap resamples of word families.
        seed: Seed of the resampling.

    Returns:
        The ratio; ``None`` where the interval of the spelling difference holds zero.
    """
    spelling = pairs[TRAINED_TASK]
    answers = (spelling["reference"], spelling["arm"], spelling["stem"])
    moved = paired_difference(*answers, confidence=confidence, n_resamples=n_resamples, seed=seed)
    if not moved.interval.excludes(0.0):
        return None, NO_INTERVAL
    parts = []
    for frame in (spelling, pairs[task]):
        change = frame["arm"].astype(float) - frame["reference"].astype(float)
        parts.append(change.groupby(frame["stem"]).agg(["sum", "count"]))
    totals = pd.concat(parts, axis=1).fillna(0).sort_index().to_numpy(dtype=float)

    def statistic(spelling_sum: FloatArray, spelling_n: FloatArray, task_sum: FloatArray, n: FloatArray) -> FloatArray:
        return (task_sum / n) / (spelling_sum / spelling_n)

    sums = totals.sum(axis=0)
    interval = family_bootstrap(totals, statistic, confidence=confidence, n_resamples=n_resamples, seed=seed)
    return float((sums[2] / sums[3]) / (sums[0] / sums[1])), interval
