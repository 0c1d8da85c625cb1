"""Intervals and tests for shares of right answers and for paired differences between two arms.

Two arms answer the same examples, so their difference is judged within examples. Examples of one word family are not
independent of one another, so what is resampled is the family.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating[Any]]

CONFIDENCE = 0.95
N_RESAMPLES = 9_999
_FEWEST_FAMILIES = 30
"""Resampling fewer families than this gives intervals that are too narrow."""
# Resamples held in memory at once: at 2,000 families and 12 columns this is under 100 MB.
_BATCH = 500


class Interval(NamedTuple):
    """A confidence interval; both ends are NaN where there is none."""

    low: float
    high: float

    def excludes(self, value: float = 0.0) -> bool:
        """Returns whether the value lies outside. An interval that is not there excludes nothing."""
        return self.low > value or self.high < value


NO_INTERVAL = Interval(float("nan"), float("nan"))


class PairedDifference(NamedTuple):
    """How the share of right answers differs between two arms on the same examples.

    Attributes:
        n: Examples answered by both.
        families: Word families among them.
        reference: Share right of the reference arm.
        arm: Share right of the other arm.
        difference: ``arm - reference``.
        interval: Interval of the difference.
        only_reference: Examples that only the reference arm has right.
        only_arm: Examples that only the other arm has right.
        p_value: Two-sided exact McNemar p-value of "no difference".
    """

    n: int
    families: int
    reference: float
    arm: float
    difference: float
    interval: Interval
    only_reference: int
    only_arm: int
    p_value: float


def wilson_interval(successes: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Returns Wilson's score interval of a share.

    With p = successes / n and z the normal quantile, its ends are
    ``(p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)``. Unlike ``p ± z·sqrt(p(1-p)/n)`` it stays within 0 and 1
    and has width at p = 0 and p = 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    from scipy.stats import binomtest

    if n == 0:
        return NO_INTERVAL
    low, high = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(float(low), float(high))


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Returns the two-sided exact McNemar p-value: were the disagreements a fair coin's?

    Only examples that exactly one arm has right say anything; given their number m, the count of one kind follows
    Binomial(m, 1/2) if the arms are equally good. Without disagreements the value is 1.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947), in its exact binomial form.
    """
    from scipy.stats import binomtest

    disagreements = only_first + only_second
    if disagreements == 0:
        return 1.0
    return float(binomtest(only_first, disagreements, 0.5).pvalue)


def newcombe_paired_interval(
    both: int, only_reference: int, only_arm: int, neither: int, *, confidence: float = CONFIDENCE
) -> Interval:
    """Returns Newcombe's score interval of a paired difference ``arm - reference`` from the four counts.

    It joins the Wilson intervals (l, u) of both shares by their correlation φ:
    ``d - sqrt((p2-l2)² - 2φ(p2-l2)(u1-p1) + (u1-p1)²)`` and the mirror image above, with the continuity correction of
    φ for positive association. It needs no resampling and has width where all differences are equal.

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17 (1998), method 10.
    """
    n = both + only_reference + only_arm + neither
    if n == 0:
        return NO_INTERVAL
    reference, arm = (both + only_reference) / n, (both + only_arm) / n
    reference_low, reference_high = wilson_interval(both + only_reference, n, confidence=confidence)
    arm_low, arm_high = wilson_interval(both + only_arm, n, confidence=confidence)
    margins = (both + only_reference) * (only_arm + neither) * (both + only_arm) * (only_reference + neither)
    association = float(both * neither - only_reference * only_arm)
    if association > 0:
        association = max(association - n / 2, 0)
    phi = association / margins**0.5 if margins else 0.0

    def distance(first: float, second: float) -> float:
        # Rounding can leave a tiny negative number where the true value is 0.
        return float(max(first**2 - 2 * phi * first * second + second**2, 0.0) ** 0.5)

    difference = arm - reference
    return Interval(
        difference - distance(arm - arm_low, reference_high - reference),
        difference + distance(arm_high - arm, reference - reference_low),
    )


def family_totals(families: ArrayLike, *columns: ArrayLike) -> FloatArray:
    """Returns the sum of each column within each family, shape (families, columns); families in sorted order."""
    _, place = np.unique(np.asarray(families), return_inverse=True)
    return np.stack([np.bincount(place, weights=np.asarray(column, dtype=float)) for column in columns], axis=1)


def family_bootstrap(
    totals: FloatArray,
    statistic: Callable[..., FloatArray],
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Returns the percentile bootstrap interval of a statistic of column totals, resampling whole families.

    Args:
        totals: Sums within each family, shape (families, columns), as ``family_totals`` gives them.
        statistic: Takes the total of each column over the families of a resample, as one array a column, and
            returns the statistic of each resample.
        confidence: Two-sided confidence level.
        n_resamples: Resamples drawn.
        seed: Seed of the resampling; the same seed gives the same interval.

    Returns:
        The interval; none where there are fewer than two families or the statistic is undefined in a resample.

    Source: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8 (resampling
    of clusters) and section 5.3 (percentile interval).
    """
    from scipy.stats import DegenerateDataWarning, bootstrap

    if len(totals) < 2:
        return NO_INTERVAL

    def of_resample(*columns: FloatArray, axis: int) -> FloatArray:
        return statistic(*(column.sum(axis=axis) for column in columns))

    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        # Said for every statistic that a resample leaves undefined; the missing interval says it already.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        low, high = bootstrap(
            tuple(totals.T),
            of_resample,
            paired=True,
            vectorized=True,
            n_resamples=n_resamples,
            batch=_BATCH,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return Interval(float(low), float(high))


def paired_difference(
    reference: ArrayLike,
    arm: ArrayLike,
    families: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Returns the difference between two arms' right answers on the same examples, with its interval and p-value.

    The interval resamples families (``family_bootstrap``). With fewer than 30 families, or where every family has the
    same mean difference, resampling sees too little spread and would claim too much; Newcombe's interval is given there
    instead.

    Args:
        reference: Whether the reference arm is right, shape (examples,).
        arm: Whether the other arm is right, shape (examples,).
        families: The word family of each example, shape (examples,).
        confidence: Two-sided confidence level.
        n_resamples: Bootstrap resamples.
        seed: Seed of the resampling.

    Raises:
        ValueError: There are no examples, or the three differ in length.
    """
    first, second = np.asarray(reference, dtype=bool), np.asarray(arm, dtype=bool)
    family = np.asarray(families)
    if not len(first) or not len(first) == len(second) == len(family):
        raise ValueError(f"paired arms need the same examples, got {len(first)}, {len(second)} and {len(family)}.")
    only_reference, only_arm = int((first & ~second).sum()), int((~first & second).sum())
    totals = family_totals(family, second.astype(float) - first, np.ones(len(first)))
    if len(totals) >= _FEWEST_FAMILIES and np.ptp(totals[:, 0] / totals[:, 1]) > 0:
        interval = family_bootstrap(
            totals, lambda change, n: change / n, confidence=confidence, n_resamples=n_resamples, seed=seed
        )
    else:
        interval = newcombe_paired_interval(
            int((first & second).sum()),
            only_reference,
            only_arm,
            int((~first & ~second).sum()),
            confidence=confidence,
        )
    return PairedDifference(
        n=len(first),
        families=len(totals),
        reference=float(first.mean()),
        arm=float(second.mean()),
        difference=float(second.mean() - first.mean()),
        interval=interval,
        only_reference=only_reference,
        only_arm=only_arm,
        p_value=mcnemar_exact(only_reference, only_arm),
    )


def gap_closed(reference: float, arm: float) -> float:
    """Returns the share of the reference arm's errors that the other arm no longer makes.

    ``(arm - reference) / (1 - reference)``: 1 where nothing is wrong any more, 0 where nothing changed, negative where
    it got worse. NaN where the reference arm has everything right.
    """
    return (arm - reference) / (1 - reference) if reference < 1 else float("nan")


def gap_closed_interval(
    reference: ArrayLike,
    arm: ArrayLike,
    families: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Returns the interval of the gap closed, by resampling families; none where there are fewer than 30 of them.

    Arguments as in ``paired_difference``.
    """
    first, second = np.asarray(reference, dtype=float), np.asarray(arm, dtype=float)
    totals = family_totals(families, second - first, 1 - first)
    if len(totals) < _FEWEST_FAMILIES or not totals[:, 1].any():
        return NO_INTERVAL
    return family_bootstrap(
        totals, lambda change, wrong: change / wrong, confidence=confidence, n_resamples=n_resamples, seed=seed
    )
