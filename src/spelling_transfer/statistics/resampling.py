"""The bootstrap: draws with replacement, from a seed, and intervals of what they give.

Examples of one word family are not independent of one another, so where there are families, whole families are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spelling_transfer.statistics.intervals import (
    CONFIDENCE,
    NO_INTERVAL,
    Floats,
    Interval,
    number_families,
    percentile_interval,
)

Integers = NDArray[np.integer[Any]]

FEWEST_FAMILIES = 30
"""Resampling fewer families than this gives intervals that are too narrow."""
_DRAWS_A_COUNT = 10
"""One count of a multinomial takes about as long as so many draws of a row."""
# Resamples held in memory at once: at 2,000 families and 12 columns this is under 100 MB.
_BATCH = 500


@dataclass(frozen=True)
class Bootstrap:
    """How resamples are drawn; the same settings draw the same ones.

    Attributes:
        confidence: Two-sided confidence level of the intervals.
        n_resamples: Resamples drawn.
        seed: Seed of the draws.

    Source: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), chapter 2; section 3.8
    where what is drawn are groups.
    """

    confidence: float = CONFIDENCE
    n_resamples: int = 9_999
    seed: int = 0

    def indices(self, n: int) -> Iterator[Integers]:
        """Yields which of ``n`` items each resample takes, in batches of shape ``(resamples, n)``."""
        rng = np.random.default_rng(self.seed)
        for start in range(0, self.n_resamples, _BATCH):
            yield rng.integers(0, n, size=(min(_BATCH, self.n_resamples - start), n))

    def counts(self, n: int) -> Integers:
        """Returns how often each resample takes each of ``n`` items, shape ``(resamples, n)``.

        For statistics of sums this is all that matters: a product with the counts gives them for many columns at once.
        """
        return np.random.default_rng(self.seed).multinomial(n, np.full(n, 1 / max(n, 1)), size=self.n_resamples)

    def sums(self, rows: Floats) -> Floats:
        """Returns the sum of each column over the rows of each resample, shape ``(resamples, columns)``.

        Equal rows are interchangeable, so what is drawn is how often each distinct row is taken: a multinomial of as
        many counts as there are distinct rows. With one question a family these are three: better, worse, the same.

        Args:
            rows: Shape ``(n, columns)``.
        """
        distinct, times = np.unique(rows, axis=0, return_counts=True)
        if _DRAWS_A_COUNT * len(distinct) > len(rows):
            columns = [np.ascontiguousarray(column) for column in rows.T]
            drawn = [[column[taken].sum(axis=-1) for column in columns] for taken in self.indices(len(rows))]
            return np.concatenate(drawn, axis=1).T
        taken = np.random.default_rng(self.seed).multinomial(len(rows), times / len(rows), size=self.n_resamples)
        return np.asarray(taken @ distinct)

    def values(self, statistic: Callable[..., Floats], *columns: Floats) -> Floats:
        """Returns a statistic of each resample of the columns' rows, shape ``(resamples,)``.

        Args:
            statistic: Takes one array ``(resamples, n)`` a column and returns its values, ``(resamples,)``.
            columns: Arrays of shape ``(n,)``; the same rows of all of them are drawn.
        """
        n = len(columns[0])
        batches = [statistic(*(column[drawn] for column in columns)) for drawn in self.indices(n)]
        return np.concatenate(batches) if batches else np.empty(0)


STANDARD = Bootstrap()
"""What intervals of two arms are made with where nothing else is asked for."""


def family_totals(families: ArrayLike, *columns: ArrayLike) -> Floats:
    """Returns the sum of each column within each family, shape (families, columns); families in sorted order.

    Raises:
        ValueError: An example has no family.
    """
    place, _ = number_families(families)
    return np.stack([np.bincount(place, weights=np.asarray(column, dtype=float)) for column in columns], axis=1)


def family_bootstrap(totals: Floats, statistic: Callable[..., Floats], bootstrap: Bootstrap = STANDARD) -> Interval:
    """Returns the percentile bootstrap interval of a statistic of column totals, resampling whole families.

    Args:
        totals: Sums within each family, shape (families, columns), as ``family_totals`` gives them.
        statistic: Takes the total of each column over the families of a resample, as one array a column, and
            returns the statistic of each resample.
        bootstrap: How to draw.

    Returns:
        The interval; none where there are fewer than two families or the statistic is undefined in a resample.
    """
    return sums_interval(bootstrap.sums(totals), statistic, bootstrap) if len(totals) > 1 else NO_INTERVAL


def sums_interval(sums: Floats, statistic: Callable[..., Floats], bootstrap: Bootstrap = STANDARD) -> Interval:
    """Returns the percentile interval of a statistic of resampled sums; arguments as in ``family_bootstrap``.

    Args:
        sums: What ``Bootstrap.sums`` returns: several statistics may be of the same resamples.
        statistic: Takes one array a column and returns its value in each resample.
        bootstrap: The level of confidence.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return percentile_interval(statistic(*sums.T), confidence=bootstrap.confidence)
