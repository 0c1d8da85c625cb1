"""Scores of all trials in the same resamples of word families, so that any two of them stay comparable.

Every trial answers the same questions. One set of resamples, used for all trials and tasks, gives intervals of scores,
of gains, of ratios of gains and of differences between trials that fit together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spelling_transfer.statistics.intervals import CONFIDENCE, NO_INTERVAL, Interval
from spelling_transfer.statistics.scores import SCORED_TASKS, Focus, FocusWeights, transfer_score

Floats = NDArray[np.float64]

N_RESAMPLES = 1_999
FEWEST_FAMILIES = 30
"""Resampling fewer families than this gives intervals that are too narrow, so none is given."""


@dataclass(frozen=True)
class Resampled:
    """A number with its resampled values.

    Attributes:
        value: On the questions as they are, shape ``(...)``.
        resamples: On each resample of them, shape ``(resamples, ...)``; none of them where families are too few.
    """

    value: Floats
    resamples: Floats

    def interval(self, *place: int, confidence: float = CONFIDENCE) -> Interval:
        """Returns the percentile interval of one of the numbers; none where a resample leaves it undefined."""
        values = self.resamples
        for index in place:
            values = values[:, index]
        return percentile_interval(values, confidence)

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

    numbers: list[int]
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
        return Resampled(
            _divide(gains.value, 1 - self.base.value),
            _divide(gains.resamples, 1 - self.base.resamples[:, np.newaxis]),
        )

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


def resample_marks(marks: pd.DataFrame, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> StudyResamples:
    """Resamples the word families of the validation questions, the same families for base model and all trials.

    A family is drawn with all its questions of all tasks. A resample is a multinomial number of times that each family
    is taken, so all scores of it are one matrix product.

    Args:
        marks: What ``read_marks`` returns: ``number``, ``example_id``, ``task``, ``stem``, ``base``, ``exact``.
        n_resamples: Resamples drawn.
        seed: Seed of the resampling.

    Source: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8.
    """
    numbers = [int(number) for number in sorted(marks["number"].unique())]
    stems = np.unique(marks["stem"])
    n = n_resamples if len(stems) >= FEWEST_FAMILIES else 0
    weights = np.random.default_rng(seed).multinomial(len(stems), np.full(len(stems), 1 / max(len(stems), 1)), size=n)
    base: list[tuple[Floats, Floats]] = []
    trials: list[tuple[Floats, Floats]] = []
    for task in SCORED_TASKS:
        of_task = marks[marks["task"] == task]
        right = of_task.pivot_table(index="stem", columns="number", values="exact", aggfunc="sum").reindex(stems)
        first = of_task.drop_duplicates("example_id").groupby("stem")["base"].agg(["sum", "size"]).reindex(stems)
        questions = first["size"].fillna(0).to_numpy(dtype=float)
        for frame, found in ((right.reindex(columns=numbers), trials), (first[["sum"]], base)):
            totals = frame.fillna(0).to_numpy(dtype=float)
            value = _divide(totals.sum(axis=0), questions.sum())
            found.append((value, _divide(weights @ totals, (weights @ questions)[:, np.newaxis])))
    return StudyResamples(
        numbers=numbers,
        base=Resampled(
            np.array([value[0] for value, _ in base]), np.stack([resamples[:, 0] for _, resamples in base], axis=-1)
        ),
        trials=Resampled(
            np.stack([value for value, _ in trials], axis=-1), np.stack([each for _, each in trials], axis=-1)
        ),
        families=len(stems),
    )


def ratio_interval(values: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Returns the percentile interval of resampled ratios, some of which may divide by nothing.

    Such a ratio is infinite and belongs to the tails; 0 / 0 says nothing and is left out. There is no interval where
    either takes more than the tails.
    """
    defined = values[~np.isnan(values)]
    if len(defined) < confidence * len(values) or not len(defined):
        return NO_INTERVAL
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2], method="inverted_cdf")
    return Interval(float(low), float(high)) if np.isfinite([low, high]).all() else NO_INTERVAL


def percentile_interval(values: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Returns the percentile interval of resampled values; none where there are none or one is undefined."""
    if not len(values) or not np.isfinite(values).all():
        return NO_INTERVAL
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _score(scores: Floats, focus: Focus | FocusWeights) -> Floats:
    spelling, position, count = np.moveaxis(scores, -1, 0)
    return np.asarray(transfer_score(spelling, position, count, focus))


def _divide(dividend: Floats, divisor: Floats | float) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(dividend / divisor, dtype=float)
