"""Two arms that answer the same examples: how they differ, judged within examples.

What both have right, or both have wrong, says nothing of a difference. So every number here rests on the examples that
one arm alone has right.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spelling_transfer.statistics.intervals import CONFIDENCE, NO_INTERVAL, Floats, Interval, wilson_interval
from spelling_transfer.statistics.resampling import (
    FEWEST_FAMILIES,
    STANDARD,
    Bootstrap,
    family_bootstrap,
    family_totals,
)


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


def paired_difference(
    reference: ArrayLike, arm: ArrayLike, families: ArrayLike, bootstrap: Bootstrap = STANDARD
) -> PairedDifference:
    """Returns the difference between two arms' right answers on the same examples, with its interval and p-value.

    The interval resamples families (``family_bootstrap``). With fewer than 30 families, or where every family has the
    same mean difference, resampling sees too little spread and would claim too much; Newcombe's interval is given there
    instead.

    Args:
        reference: Whether the reference arm is right, shape (examples,).
        arm: Whether the other arm is right, shape (examples,).
        families: The word family of each example, shape (examples,).
        bootstrap: How families are resampled.

    Raises:
        ValueError: There are no examples, or the three differ in length.
    """
    first, second = np.asarray(reference, dtype=bool), np.asarray(arm, dtype=bool)
    family = np.asarray(families)
    if not len(first) or not len(first) == len(second) == len(family):
        raise ValueError(f"paired arms need the same examples, got {len(first)}, {len(second)} and {len(family)}.")
    only_reference, only_arm = int((first & ~second).sum()), int((~first & second).sum())
    totals = family_totals(family, second.astype(float) - first, np.ones(len(first)))
    if len(totals) >= FEWEST_FAMILIES and np.ptp(totals[:, 0] / totals[:, 1]) > 0:
        interval = family_bootstrap(totals, lambda change, n: change / n, bootstrap)
    else:
        interval = newcombe_paired_interval(
            int((first & second).sum()),
            only_reference,
            only_arm,
            int((~first & ~second).sum()),
            confidence=bootstrap.confidence,
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


def gap_closed(reference: float, arm: float) -> float:
    """Returns the share of the reference arm's errors that the other arm no longer makes.

    ``(arm - reference) / (1 - reference)``: 1 where nothing is wrong any more, 0 where nothing changed, negative where
    it got worse. NaN where the reference arm has everything right.
    """
    return (arm - reference) / (1 - reference) if reference < 1 else float("nan")


def gap_closed_interval(
    reference: ArrayLike, arm: ArrayLike, families: ArrayLike, bootstrap: Bootstrap = STANDARD
) -> Interval:
    """Returns the interval of the gap closed, by resampling families; none where there are fewer than 30 of them.

    Arguments as in ``paired_difference``.
    """
    first, second = np.asarray(reference, dtype=float), np.asarray(arm, dtype=float)
    totals = family_totals(families, second - first, 1 - first)
    if len(totals) < FEWEST_FAMILIES or not totals[:, 1].any():
        return NO_INTERVAL
    return family_bootstrap(totals, lambda change, wrong: change / wrong, bootstrap)


def difference_ratio(
    differences: ArrayLike,
    families: ArrayLike,
    is_numerator: ArrayLike,
    bootstrap: Bootstrap = STANDARD,
) -> tuple[float, Interval]:
    """Returns the ratio of two mean paired differences, with its interval: position gained for spelling gained.

    A family is drawn with its examples of both, so what its words have in common is kept. The ratio of what may be
    zero can be anything: ask only where the interval of the denominator excludes zero.

    Args:
        differences: ``arm - reference`` of each example (-1, 0 or 1), of both tasks, shape (examples,).
        families: The word family of each example.
        is_numerator: Whether an example belongs to the task above the line; the others are below.
        bootstrap: How families are resampled.
    """
    change, above = np.asarray(differences, dtype=float), np.asarray(is_numerator, dtype=bool)
    totals = family_totals(families, change * ~above, ~above, change * above, above)

    def ratio(below: Floats, n_below: Floats, above: Floats, n_above: Floats) -> Floats:
        return (above / n_above) / (below / n_below)

    sums = totals.sum(axis=0)
    return float(ratio(*sums)), family_bootstrap(totals, ratio, bootstrap)
