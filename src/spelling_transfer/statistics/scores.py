"""The transfer score: one number for how well a model spells and knows where letters stand and how many there are.

Here with it: the scores of many trials in the same resamples of word families, so that any two stay comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spelling_transfer.statistics.intervals import CONFIDENCE, NO_INTERVAL, Floats, Interval, percentile_interval
from spelling_transfer.statistics.paired import right_or_wrong
from spelling_transfer.statistics.resampling import (
    FEWEST_FAMILIES,
    STANDARD,
    Bootstrap,
    family_totals,
    sums_interval,
)

Focus = Literal["spelling", "balanced", "transfer"]
Scores = TypeVar("Scores", float, NDArray[np.floating[Any]])

SCORED_TASKS = ("spelling", "position", "count")
"""The tasks the transfer score is made of, in the order of its arguments."""


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

    Raises:
        ValueError: No focus has this name.
    """
    if not isinstance(focus, FocusWeights) and focus not in FOCUS_WEIGHTS:
        raise ValueError(f"focus: {focus!r} is none of {', '.join(FOCUS_WEIGHTS)}")
    weights = focus if isinstance(focus, FocusWeights) else FOCUS_WEIGHTS[focus]
    bonus: Scores = SPELLING_BONUS * np.minimum(spelling, (position + count) / 2)
    score: Scores = weights.position * position + weights.count * count + bonus
    return score


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


def compare_transfer_scores(
    reference: ArrayLike,
    arm: ArrayLike,
    tasks: ArrayLike,
    families: ArrayLike,
    focus: Focus | FocusWeights = "balanced",
    bootstrap: Bootstrap = STANDARD,
) -> TransferScores:
    """Returns the transfer scores of two arms and their difference, with intervals from resampled word families.

    A family is drawn with all its examples of all tasks, so what its words have in common across tasks is kept. There
    are no intervals where a task has examples of fewer than 30 families, nor where all resamples give the same score,
    which is no certainty.

    Args:
        reference: Whether the reference arm is right, shape (examples,).
        arm: Whether the other arm is right, shape (examples,).
        tasks: The task of each example, one of ``SCORED_TASKS``.
        families: The word family of each example.
        focus: Which weights to use.
        bootstrap: How families are resampled.

    Raises:
        ValueError: One of the three tasks has no example, the four differ in shape, or an answer is neither right nor
            wrong.
    """
    shapes = {np.shape(each) for each in (reference, arm, tasks, families)}
    if len(shapes) > 1 or len(shapes.pop()) != 1:
        raise ValueError(
            "transfer score: each example has one answer of each arm, one task and one family. Give four arrays of one "
            "length; of several seeds, one at a time."
        )
    of_task = [np.asarray(tasks) == task for task in SCORED_TASKS]
    if missing := [task for task, rows in zip(SCORED_TASKS, of_task, strict=True) if not rows.any()]:
        raise ValueError(f"transfer score: no example of {', '.join(missing)}.")
    arms = right_or_wrong(reference, "reference"), right_or_wrong(arm, "arm")
    right = [each * rows for each in arms for rows in of_task]
    totals = family_totals(families, *right, *of_task)  # a family without an example of a task counts as none there

    def score(*sums: Floats) -> Floats:
        spelling, position, count = (of_arm / n for of_arm, n in zip(sums[:3], sums[3:], strict=True))
        return transfer_score(spelling, position, count, focus)

    def difference(*sums: Floats) -> Floats:
        return score(*sums[3:]) - score(*sums[:3], *sums[6:])

    of_arms = [0, 1, 2, 6, 7, 8], [3, 4, 5, 6, 7, 8]
    scores = [float(score(*totals[:, columns].sum(axis=0))) for columns in of_arms]
    drawn = bootstrap.sums(totals)
    enough = np.count_nonzero(totals[:, 6:], axis=0).min() >= FEWEST_FAMILIES

    def interval(columns: list[int], statistic: Callable[..., Floats]) -> Interval:
        found = sums_interval(drawn[:, columns], statistic, bootstrap) if enough else NO_INTERVAL
        return found if found.low < found.high else NO_INTERVAL

    first, second = (interval(columns, score) for columns in of_arms)
    return TransferScores(
        families=len(totals),
        reference=scores[0],
        reference_interval=first,
        arm=scores[1],
        arm_interval=second,
        difference=scores[1] - scores[0],
        interval=interval(list(range(9)), difference),
    )


@dataclass(frozen=True)
class Resampled:
    """A number with its resampled values.

    Attributes:
        value: On the questions as they are, shape ``(...)``.
        resamples: On each resample of them, shape ``(resamples, ...)``; none of them where families are too few, and
            NaN where those of a task are.
    """

    value: Floats
    resamples: Floats

    def interval(self, *place: int, confidence: float = CONFIDENCE) -> Interval:
        """Returns the percentile interval of one of the numbers; none where a resample leaves it undefined."""
        values = self.resamples
        for index in place:
            values = values[:, index]
        return percentile_interval(values, confidence=confidence)

    def at(self, place: int) -> Resampled:
        """Returns the numbers at a place of the first axis."""
        return Resampled(self.value[place], self.resamples[:, place])

    def minus(self, other: Resampled) -> Resampled:
        """Returns the difference to a number, in the same resamples."""
        return Resampled(self.value - other.value, self.resamples - other.resamples[:, np.newaxis])


@dataclass(frozen=True)
class StudyResamples:
    """Scores of base model and trials, on the questions and on each resample of their families.

    Attributes:
        numbers: Trial numbers, in the order of the trials' axis.
        base: Exact match of the base model by task, shape ``(tasks,)``.
        trials: Exact match by trial and task, shape ``(trials, tasks)``; tasks as in ``SCORED_TASKS``.
        families: Families resampled.
    """

    numbers: Sequence[int]
    base: Resampled
    trials: Resampled
    families: int

    def place(self, number: int) -> int:
        """Returns a trial's place on the trials' axis."""
        return self.numbers.index(number)

    def gains(self) -> Resampled:
        """Returns each trial's change of each task against the base model, shape ``(trials, tasks)``."""
        return self.trials.minus(self.base)

    def gaps_closed(self) -> Resampled:
        """Returns the gains as a share of what the base model had wrong, shape ``(trials, tasks)``."""
        gains = self.gains()
        wrong, resampled = (np.where(each < 1, 1 - each, np.nan) for each in (self.base.value, self.base.resamples))
        return Resampled(_divide(gains.value, wrong), _divide(gains.resamples, resampled[:, np.newaxis]))

    def ratios(self) -> Resampled:
        """Returns gain over spelling gain, shape ``(trials, tasks)``; 1 for spelling itself."""
        gains = self.gains()
        return Resampled(_divide(gains.value, gains.value[:, :1]), _divide(gains.resamples, gains.resamples[:, :, :1]))

    def transfer_scores(self, focus: Focus | FocusWeights) -> Resampled:
        """Returns the transfer score of each trial, shape ``(trials,)``."""
        return Resampled(_score(self.trials.value, focus), _score(self.trials.resamples, focus))

    def base_transfer_score(self, focus: Focus | FocusWeights) -> Resampled:
        """Returns the transfer score of the base model, shape ``()``."""
        return Resampled(_score(self.base.value, focus), _score(self.base.resamples, focus))


def resample_scores(
    numbers: Sequence[int],
    trials: ArrayLike,
    base: ArrayLike,
    tasks: ArrayLike,
    families: ArrayLike,
    bootstrap: Bootstrap = STANDARD,
) -> StudyResamples:
    """Resamples the word families of the questions that base model and all trials answered.

    A family is drawn with all its questions of all tasks, and the same families for all trials: one set of resamples
    gives intervals of scores, of gains, of their ratios and of differences between trials that fit together. A resample
    is a number of times that each family is taken, so all scores of it are one matrix product.

    Args:
        numbers: The trials' numbers.
        trials: Whether a trial has a question right, shape ``(trials, questions)``.
        base: Whether the base model has it right, shape ``(questions,)``.
        tasks: The task of each question.
        families: The word family of each question.
        bootstrap: How families are resampled.
    """
    right = np.vstack([np.asarray(base, dtype=float), np.asarray(trials, dtype=float).reshape(len(numbers), -1)])
    of_task = [np.asarray(tasks) == task for task in SCORED_TASKS]
    n_families = len(np.unique(np.asarray(families)))
    drawn = bootstrap.counts(n_families) if n_families >= FEWEST_FAMILIES else np.empty((0, n_families))
    values, resamples = [], []
    for rows in of_task:
        *totals, questions = family_totals(families, *(right * rows), rows).T
        by_family = np.stack(totals, axis=1)
        values.append(_divide(by_family.sum(axis=0), questions.sum()))
        # A task may be asked about fewer families than the others are.
        asked = drawn @ questions if np.count_nonzero(questions) >= FEWEST_FAMILIES else np.full(len(drawn), np.nan)
        resamples.append(_divide(drawn @ by_family, asked[:, np.newaxis]))
    value, resampled = np.stack(values, axis=-1), np.stack(resamples, axis=-1)
    return StudyResamples(
        numbers=numbers,
        base=Resampled(value[0], resampled[:, 0]),
        trials=Resampled(value[1:], resampled[:, 1:]),
        families=n_families,
    )


def _score(scores: Floats, focus: Focus | FocusWeights) -> Floats:
    spelling, position, count = np.moveaxis(scores, -1, 0)
    return np.asarray(transfer_score(spelling, position, count, focus))


def _divide(dividend: Floats, divisor: Floats | float) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(dividend / divisor, dtype=float)
