"""Confidence intervals: of a share, of a mean, of resampled values."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A confidence interval; both ends are NaN where there is none."""

    low: float
    high: float

    def excludes(self, value: float = 0.0) -> bool:
        """Returns whether the value lies outside. An interval that is not there excludes nothing."""
        return self.low > value or self.high < value

    @property
    def verdict(self) -> Literal["up", "down", "unclear"]:
        """Which way a difference clearly goes; ``unclear`` where its interval includes zero or is missing."""
        if not self.excludes(0.0):
            return "unclear"
        return "up" if self.low > 0 else "down"


NO_INTERVAL = Interval(float("nan"), float("nan"))


def number_families(families: ArrayLike) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Returns the place of each example's family among all, sorted, and how many examples each family has.

    Raises:
        ValueError: An example has no family, or families cannot be sorted. NumPy would take all NaN for one family.
    """
    try:
        names, place, sizes = np.unique(np.asarray(families), return_inverse=True, return_counts=True)
        missing = bool(np.not_equal(names, names).any())
    except TypeError:  # None or pandas.NA among texts
        missing = True
    if missing:
        raise ValueError("families: an example has none, or they are of several kinds. Name the family of each.")
    return place, sizes


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


def clustered_wilson_interval(values: ArrayLike, clusters: ArrayLike, *, confidence: float = CONFIDENCE) -> Interval:
    """Returns Wilson's interval of a share whose items come in clusters, such as several questions about one word.

    It is the interval of the effective sample size ``n / d``. The design effect ``d`` is the variance of the share over
    ``m`` clusters, ``m / (m - 1) · Σ (Σ (x - p))² / n²``, divided by ``p (1 - p) / (n - 1)``, and at least 1. So it is
    1, and the interval Wilson's own, where each item is a cluster. Where all or none are right the clusters say nothing
    of it, and each counts once.

    Source: L. Kish, "Survey Sampling" (1965), section 8.2; E. L. Korn and B. I. Graubard, "Confidence intervals for
    proportions with small expected number of positive counts", Survey Methodology 24 (1998).

    Args:
        values: Whether each item is right, shape (items,).
        clusters: The cluster of each item, shape (items,).
        confidence: Confidence level.
    """
    from scipy.stats import norm

    right = np.asarray(values, dtype=float)
    member, _ = number_families(clusters)
    n, m = len(right), int(member.max()) + 1 if len(right) else 0
    if n == 0:
        return NO_INTERVAL
    p, size = float(right.mean()), float(m)
    if 0 < p < 1 and m > 1:
        totals = np.bincount(member, weights=right - p)
        effect = m / (m - 1) * float(totals @ totals) / n**2 / (p * (1 - p) / (n - 1))
        size = n / max(effect, 1.0)
    z = float(norm.ppf((1 + confidence) / 2))
    middle, half = p + z**2 / (2 * size), z * (p * (1 - p) / size + z**2 / (4 * size**2)) ** 0.5
    return Interval(max(0.0, (middle - half) / (1 + z**2 / size)), min(1.0, (middle + half) / (1 + z**2 / size)))


def t_interval(values: ArrayLike, *, confidence: float = CONFIDENCE) -> Interval:
    """Returns Student's interval of a mean, ``mean ± t · s / sqrt(n)``.

    None for fewer than two values, or where all are equal, which is no certainty.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    from scipy import stats

    array = np.asarray(values, dtype=float)
    if len(array) < 2 or np.ptp(array) == 0:
        return NO_INTERVAL
    half = stats.t.ppf((1 + confidence) / 2, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5
    return Interval(float(array.mean() - half), float(array.mean() + half))


def percentile_interval(values: Floats, *, confidence: float = CONFIDENCE) -> Interval:
    """Returns the percentile interval of resampled values; none where there are none or one is undefined.

    Source: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application" (1997), section 5.3.
    """
    if not len(values) or not np.isfinite(values).all():
        return NO_INTERVAL
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def ratio_interval(values: Floats, *, confidence: float = CONFIDENCE) -> Interval:
    """Returns the percentile interval of resampled ratios, some of which may divide by nothing.

    Such a ratio is infinite and belongs to the tails; 0 / 0 says nothing and is left out. There is no interval where
    either takes more than the tails.
    """
    defined = values[~np.isnan(values)]
    if len(defined) < confidence * len(values) or not len(defined):
        return NO_INTERVAL
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2], method="inverted_cdf")
    return Interval(float(low), float(high)) if np.isfinite([low, high]).all() else NO_INTERVAL
