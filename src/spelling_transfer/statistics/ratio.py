"""The share of what could be gained that was gained: a ratio of two differences that have arms and words in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from spelling_transfer.statistics.contrast import Contrast, contrast
from spelling_transfer.statistics.intervals import CONFIDENCE, NO_INTERVAL, Floats, Interval


class Ratio(NamedTuple):
    """A ratio of two differences between arms.

    Attributes:
        numerator: The difference above the line.
        denominator: The one below.
        ratio: Their ratio.
        interval: Its interval.
    """

    numerator: float
    denominator: float
    ratio: float
    interval: Interval


def fieller_interval(
    numerator: float,
    denominator: float,
    numerator_variance: float,
    denominator_variance: float,
    covariance: float,
    *,
    critical: float,
) -> Interval:
    """Returns the ratios ρ for which ``numerator - ρ · denominator`` is not clearly different from zero.

    There is none where the denominator's own interval includes zero: these ratios would then have no end.

    Source: E. C. Fieller, "Some problems in interval estimation", Journal of the Royal Statistical Society B 16 (1954).

    Args:
        numerator: The difference above the line.
        denominator: The one below.
        numerator_variance: Variance of the first.
        denominator_variance: Variance of the second.
        covariance: Covariance of both.
        critical: How many standard errors from zero are clear: 1.96 for 95% of a normal distribution.
    """
    squared = critical**2
    a = denominator**2 - squared * denominator_variance
    if not a > 0:
        return NO_INTERVAL
    b = numerator * denominator - squared * covariance
    c = numerator**2 - squared * numerator_variance
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Interval((b - root) / a, (b + root) / a)


def contrast_ratio(
    arms: Sequence[Floats],
    above: Sequence[float],
    below: Sequence[float],
    shares: Floats | None = None,
    spreads: Sequence[float] | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> Ratio | None:
    """Returns which share of a gain another is, with Fieller's interval; none where there is no gain.

    Fieller's rather than the bootstrap's: with three seeds a resample of seeds shows less than the truth's spread, and
    Fieller's takes the variance of the seeds, with its degrees of freedom, as ``contrast`` estimates them.

    Args:
        arms: Right answers of each arm by seed and family, as in ``contrast``.
        above: The arms' weights above the line.
        below: Those below it.
        shares: As in ``contrast``.
        spreads: As in ``contrast``.
        confidence: Confidence level.

    Returns:
        The ratio; ``None`` where the interval of the denominator is not above zero.
    """

    def of(weights: Sequence[float], *, pseudo_families: bool = False) -> Contrast:
        return contrast(arms, weights, shares, spreads, pseudo_families=pseudo_families)

    def certain(found: Contrast, weights: Sequence[float]) -> Contrast:
        # Where all families differ alike, or none does, what was seen has no variance, which is no certainty.
        return found if found.standard_error > 0 else of(weights, pseudo_families=True)

    top, bottom = of(above), of(below)
    joint = of([a + b for a, b in zip(above, below, strict=True)])
    covariance = (joint.standard_error**2 - top.standard_error**2 - bottom.standard_error**2) / 2
    top, bottom = certain(top, above), certain(bottom, below)
    if not bottom.estimate > bottom.half_width(confidence):
        return None
    ratio = top.estimate / bottom.estimate
    weights = [a - ratio * b for a, b in zip(above, below, strict=True)]
    rest = certain(of(weights), weights)
    interval = fieller_interval(
        top.estimate,
        bottom.estimate,
        top.standard_error**2,
        bottom.standard_error**2,
        covariance,
        critical=max(each.half_width(confidence) / each.standard_error for each in (bottom, rest)),
    )
    return Ratio(top.estimate, bottom.estimate, ratio, interval) if not math.isnan(interval.low) else None
