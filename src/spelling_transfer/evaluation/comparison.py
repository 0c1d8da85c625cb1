"""Compares two arms on the same questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from spelling_transfer.evaluation.sampling import MAIN_WORD_SET, EvaluationError
from spelling_transfer.statistics.intervals import (
    CONFIDENCE,
    N_RESAMPLES,
    NO_INTERVAL,
    Interval,
    gap_closed,
    gap_closed_interval,
    paired_difference,
    wilson_interval,
)


def verdict(interval: Interval) -> str:
    """Returns ``up`` or ``down`` where an interval of a difference excludes zero, and ``unclear`` where it does not."""
    if not interval.excludes(0.0):
        return "unclear"
    return "up" if interval.low > 0 else "down"


def pair_arms(marked: pd.DataFrame, reference: str, arm: str) -> pd.DataFrame:
    """Returns one row an example that both arms answered, with the columns ``reference`` and ``arm``: right or not.

    Raises:
        EvaluationError: The two arms did not answer the same examples.
    """
    first, second = (marked[marked["arm"] == name].set_index("example_id") for name in (reference, arm))
    if first.empty or set(first.index) != set(second.index):
        raise EvaluationError(
            f"answers: the arms {reference!r} ({len(first)} answers) and {arm!r} ({len(second)}) did not answer the "
            "same examples; answer again with 'kedro run --pipelines=evaluation'."
        )
    keys = ["task", "stem", "word_set", "template_held_out"]
    return first[keys].assign(reference=first["exact"], arm=second["exact"].reindex(first.index)).reset_index()


def compare_arms(
    pairs: pd.DataFrame,
    reference: str,
    arm: str,
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Compares two arms task by task, and within each by wording and word set.

    Args:
        pairs: What ``pair_arms`` returns.
        reference: Name of the arm compared against.
        arm: Name of the other.
        confidence: Confidence level of all intervals.
        n_resamples: Bootstrap resamples of word families.
        seed: Seed of the resampling.

    Returns:
        One row a task and group (``all``, ``template_held_out``, ``word_set``): both scores with their Wilson
        intervals, the paired difference with its interval and exact McNemar p-value, the gap closed (with its interval
        for whole tasks), and the verdict. The columns are those of ``comparison_row``.
    """
    rows = []
    for task, of_task in pairs.groupby("task", sort=False):
        for group, value, part in _groups(of_task):
            sure = {"confidence": confidence, "n_resamples": n_resamples, "seed": seed}
            answers = (part["reference"], part["arm"], part["stem"])
            paired = paired_difference(*answers, **sure)  # type: ignore[arg-type]
            gap = gap_closed_interval(*answers, **sure) if group == "all" else NO_INTERVAL  # type: ignore[arg-type]
            rows.append(
                comparison_row(
                    measure="exact_match",
                    task=str(task),
                    group=group,
                    value=value,
                    reference=reference,
                    arm=arm,
                    n=paired.n,
                    families=paired.families,
                    reference_score=paired.reference,
                    reference_interval=wilson_interval(int(part["reference"].sum()), paired.n, confidence=confidence),
                    arm_score=paired.arm,
                    arm_interval=wilson_interval(int(part["arm"].sum()), paired.n, confidence=confidence),
                    difference=paired.difference,
                    interval=paired.interval,
                    only_reference=paired.only_reference,
                    only_arm=paired.only_arm,
                    p_value=paired.p_value,
                    gap_closed=gap_closed(paired.reference, paired.arm),
                    gap_low=gap.low,
                    gap_high=gap.high,
                )
            )
    return pd.DataFrame(rows)


def comparison_row(
    *, reference_interval: Interval, arm_interval: Interval, interval: Interval, **values: Any
) -> dict[str, Any]:
    """Returns a row of the comparison frame: the values, the ends of the three intervals, and the verdict."""
    return {
        **values,
        "reference_low": reference_interval.low,
        "reference_high": reference_interval.high,
        "arm_low": arm_interval.low,
        "arm_high": arm_interval.high,
        "low": interval.low,
        "high": interval.high,
        "verdict": verdict(interval),
    }


def _groups(pairs: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    words = pairs[pairs["word_set"] == MAIN_WORD_SET]
    if len(words):
        yield "all", "all", words
    for held_out, part in words.groupby("template_held_out"):
        yield "template_held_out", "held-out wording" if held_out else "trained wording", part
    for word_set, part in pairs[pairs["word_set"] != MAIN_WORD_SET].groupby("word_set"):
        yield "word_set", str(word_set), part
