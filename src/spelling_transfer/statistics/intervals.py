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


def t_interval(values: ArrayLike, *, confidence: float = CONFIDENCE) -> Interval:
    """Returns Student's interval of a mean, ``mean ± t · s / sqrt(n)``; none for fewer than two values.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).
    """
    from scipy import stats

    array = np.asarray(values, dtype=float)
    if len(array) < 2:
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
