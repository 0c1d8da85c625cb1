"""The transfer score: one number for how well a model spells and knows where letters stand and how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spelling_transfer.statistics.intervals import (
    CONFIDENCE,
    N_RESAMPLES,
    NO_INTERVAL,
    FloatArray,
    Interval,
    family_bootstrap,
)

Focus = Literal["spelling", "balanced", "transfer"]
Scores = TypeVar("Scores", float, NDArray[np.floating[Any]])

SCORED_TASKS = ("spelling", "position", "count")
"""The tasks the transfer score is made of, in the order of its arguments."""

COUNTED_STATES = ("complete", "stopped")
"""Trials that ended as they should; pruned and failed ones are shown and left out of comparisons."""


def counted(trials: pd.DataFrame) -> pd.DataFrame:
    """Returns the trials that ended as they should."""
    return trials[trials["state"].isin(COUNTED_STATES)]


@dataclass(frozen=True)
class FocusWeights:
    """The weights of position and count in the transfer score."""

    position: float
    count: float


FOCUS_WEIGHTS: Mapping[Focus, FocusWeights] = {
    "spelling": FocusWeights(0.3, 0.3),
    "balanced": FocusWeights(0.5, 0.5),
    "transfer": FocusWeights(0.6, 0.6),
}
SPELLING_BONUS = 0.2
"""Weight of the part that rewards spelling, as far as position and count keep up with it."""


class TransferScores(NamedTuple):
    """The transfer score of two arms on the same word families, each with its interval.

    Attributes:
        families: Word families resampled.
        reference: Score of the reference arm.
        reference_interval: Its interval.
        arm: Score of the other arm.
        arm_interval: Its interval.
        difference: ``arm - reference``.
        interval: Interval of the difference, families resampled for both arms alike.
    """

    families: int
    reference: float
    reference_interval: Interval
    arm: float
    arm_interval: Interval
    difference: float
    interval: Interval


def transfer_score(
    spelling: Scores, position: Scores, count: Scores, focus: Focus | FocusWeights = "balanced"
) -> Scores:
    """Returns ``w_position·position + w_count·count + 0.2·min(spelling, (position + count) / 2)``.

    The weights follow the focus: spelling 0.3/0.3, balanced 0.5/0.5, transfer 0.6/0.6. The score of three perfect tasks
    is thus 0.8, 1.2 or 1.4, so scores of different focus cannot be compared with one another.

    Args:
        spelling: Exact match of the spelling task, 0 to 1; a number or an array.
        position: The same for position.
        count: The same for count.
        focus: Which weights to use, by name or as they are.
    """
    weights = focus if isinstance(focus, FocusWeights) else FOCUS_WEIGHTS[focus]
    bonus: Scores = SPELLING_BONUS * np.minimum(spelling, (position + count) / 2)
    score: Scores = weights.position * position + weights.count * count + bonus
    return score


def compare_transfer_scores(
    pairs: Mapping[str, pd.DataFrame],
    focus: Focus | FocusWeights = "balanced",
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> TransferScores:
    """Returns the transfer scores of two arms and their difference, with intervals from resampled word families.

    A family is drawn with all its examples of all tasks, so what its words have in common across tasks is kept.

    Args:
        pairs: One frame a task, with the columns ``stem`` (the family), ``reference`` and ``arm`` (right or not).
        focus: Which weights to use.
        confidence: Two-sided confidence level.
        n_resamples: Bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        KeyError: One of the three tasks is missing.
    """
    frames = [pairs[task] for task in SCORED_TASKS]
    totals = _totals(frames)
    spelling, position, count = (frame[["reference", "arm"]].mean() for frame in frames)
    reference, arm = (float(transfer_score(spelling[k], position[k], count[k], focus)) for k in ("reference", "arm"))
    if not np.isfinite([reference, arm]).all():
        return TransferScores(len(totals), reference, NO_INTERVAL, arm, NO_INTERVAL, arm - reference, NO_INTERVAL)

    def interval(columns: Sequence[int], difference: bool = False) -> Interval:
        def statistic(*sums: FloatArray) -> FloatArray:
            n = sums[-3:]
            spelling, position, count = (right / of for right, of in zip(sums[:3], n, strict=True))
            first = transfer_score(spelling, position, count, focus)
            if not difference:
                return first
            spelling, position, count = (right / of for right, of in zip(sums[3:6], n, strict=True))
            return transfer_score(spelling, position, count, focus) - first

        return family_bootstrap(
            totals[:, list(columns)], statistic, confidence=confidence, n_resamples=n_resamples, seed=seed
        )

    return TransferScores(
        families=len(totals),
        reference=reference,
        reference_interval=interval([0, 1, 2, 6, 7, 8]),
        arm=arm,
        arm_interval=interval([3, 4, 5, 6, 7, 8]),
        difference=arm - reference,
        interval=interval(range(9), difference=True),
    )


def _totals(frames: Sequence[pd.DataFrame]) -> FloatArray:
    # Columns: right answers of the reference by task, of the arm by task, examples by task. A family without an
    # example of a task counts as none there.
    sums = [frame.groupby("stem")[["reference", "arm"]].agg(["sum", "count"]) for frame in frames]
    columns = [
        *(total[("reference", "sum")] for total in sums),
        *(total[("arm", "sum")] for total in sums),
        *(total[("arm", "count")] for total in sums),
    ]
    return pd.concat(columns, axis=1).fillna(0).sort_index().to_numpy(dtype=float)
