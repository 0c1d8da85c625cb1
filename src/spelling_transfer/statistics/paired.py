"""Two arms that answer the same examples: how they differ, judged within examples.

What both have right, or both have wrong, says nothing of a difference. So every number here rests on the examples that
one arm alone has right.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spelling_transfer.statistics.contrast import contrast, family_values
from spelling_transfer.statistics.exact import sign_flip_exact
from spelling_transfer.statistics.intervals import (
    CONFIDENCE,
    NO_INTERVAL,
    Floats,
    Interval,
    percentile_interval,
    ratio_interval,
)
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
        reference: Share right of the reference arm, the mean over its seeds.
        arm: Share right of the other arm.
        difference: ``arm - reference``.
        interval: Interval of the difference.
        only_reference: Examples that the reference arm has right in more of its seeds.
        only_arm: Examples that the other arm has right in more of its seeds.
        p_value: Two-sided p-value of "no difference"; exact where seeds add nothing.
        detectable: The smallest true difference that would be found four times out of five.
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
    detectable: float


def clear_direction(
    interval: Interval, p_value: float, *, confidence: float = CONFIDENCE
) -> Literal["up", "down", "unclear"]:
    """Returns which way a difference goes where its interval excludes zero *and* its test, adjusted or not, rejects."""
    return interval.verdict if p_value <= 1 - confidence + 1e-12 else "unclear"


def paired_difference(
    reference: ArrayLike,
    arm: ArrayLike,
    families: ArrayLike,
    *,
    spreads: tuple[float, float] = (0.0, 0.0),
    confidence: float = CONFIDENCE,
    alpha: float | None = None,
) -> PairedDifference:
    """Returns the difference between two arms' right answers on the same examples, with its interval and p-value.

    The interval is that of ``contrast``: over word families by Bonett and Price, and over training seeds where an arm
    has three or more, or where a spread of theirs is assumed. The test flips signs by family (``sign_flip_exact``,
    which is McNemar's where a family has one example and an arm one seed); where seeds add to the variance, the p-value
    is the larger of that and of the t test, since no question tells how another seed would have answered it.

    Args:
        reference: Whether the reference arm is right, shape (examples,) or (seeds, examples).
        arm: Whether the other arm is right, shape (examples,) or (seeds, examples).
        families: The word family of each example, shape (examples,).
        spreads: Standard deviation of a training seed's effect on the share of reference and arm, assumed where there
            are fewer than three seeds; 0 for a model that was not trained.
        confidence: Confidence level of the interval.
        alpha: Level at which ``detectable`` would be found; that of the interval if not given.

    Raises:
        ValueError: There are no examples, the three differ in length, an answer is neither right nor wrong, an example
            has no family, or a level is no share.
    """
    first, second = (
        np.atleast_2d(right_or_wrong(each, name)) for each, name in ((reference, "reference"), (arm, "arm"))
    )
    family = np.asarray(families)
    n = first.shape[1]
    if not n or not n == second.shape[1] == len(family):
        raise ValueError(f"paired arms need the same examples, got {n}, {second.shape[1]} and {len(family)}.")
    # In whole numbers, so that an exact test can count them.
    change = len(first) * second.sum(axis=0) - len(second) * first.sum(axis=0)
    (before, sizes), (after, _) = (family_values(each, family) for each in (first, second))
    found = contrast([before, after], [-1.0, 1.0], sizes, spreads)
    by_family = family_totals(family, change)[:, 0] if len(sizes) < n else change
    p_value = sign_flip_exact(by_family)
    if found.seed_variance > 0:
        p_value = max(p_value, found.p_value)
    return PairedDifference(
        n=n,
        families=found.families,
        reference=float(first.mean()),
        arm=float(second.mean()),
        difference=float(second.mean() - first.mean()),
        interval=found.interval(confidence),
        only_reference=int((change < 0).sum()),
        only_arm=int((change > 0).sum()),
        p_value=p_value,
        detectable=found.detectable(alpha=1 - confidence if alpha is None else alpha),
    )


def right_or_wrong(answers: ArrayLike, name: str) -> NDArray[np.bool_]:
    """Returns answers as right or wrong. Python takes a missing one (NaN) and a text ("False") for true.

    Raises:
        ValueError: An answer is neither.
    """
    found = np.asarray(answers)
    if found.dtype == bool:
        return found
    try:
        numbers = found.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: an answer is neither right nor wrong ({error}).") from None
    if (strange := numbers[(numbers != 0) & (numbers != 1)]).size:
        raise ValueError(
            f"{name}: {strange.size} of {numbers.size} are neither right nor wrong ({strange[0]:g}). Give 1 or 0; "
            "leave out examples without an answer, or count them as wrong."
        )
    right: NDArray[np.bool_] = numbers == 1
    return right


def bonett_price_interval(n: int, only_reference: int, only_arm: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Returns the interval of Bonett and Price of a paired difference ``arm - reference`` from its counts.

    Wald's interval of the counts with one added to each kind of disagreement; ``contrast`` does the same for families
    of several examples and for several seeds.

    Source: D. G. Bonett and R. M. Price, Journal of Educational and Behavioral Statistics 37 (2012).
    """
    if n == 0:
        return NO_INTERVAL
    change = np.repeat([1.0, -1.0, 0.0], [only_arm, only_reference, n - only_arm - only_reference])
    return contrast([change[np.newaxis]], [1.0]).interval(confidence)


def gap_closed(reference: float, arm: float) -> float:
    """Returns the share of the reference arm's errors that the other arm no longer makes.

    ``(arm - reference) / (1 - reference)``: 1 where nothing is wrong any more, 0 where nothing changed, negative where
    it got worse. NaN where the reference arm has everything right.
    """
    return (arm - reference) / (1 - reference) if reference < 1 else float("nan")


def gap_closed_interval(
    reference: ArrayLike, arm: ArrayLike, families: ArrayLike, bootstrap: Bootstrap = STANDARD
) -> Interval:
    """Returns the interval of the gap closed, by resampling families.

    None where there are fewer than 30 families, or where all close the same share of their gap, such as none or all of
    it: resamples of these are all alike, which is no certainty. Arguments as in ``paired_difference``.
    """
    first, second = np.asarray(reference, dtype=float), np.asarray(arm, dtype=float)
    totals = family_totals(families, second - first, 1 - first)
    if len(totals) < FEWEST_FAMILIES or not totals[:, 1].any():
        return NO_INTERVAL
    closed, wrong = totals.sum(axis=0)
    if np.allclose(totals[:, 0], closed / wrong * totals[:, 1]):
        return NO_INTERVAL
    change, wrong = bootstrap.sums(totals).T
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = change / wrong
    whole = np.isfinite(shares).all()
    return (percentile_interval if whole else ratio_interval)(shares, confidence=bootstrap.confidence)


def difference_ratio(
    differences: ArrayLike,
    families: ArrayLike,
    is_numerator: ArrayLike,
    bootstrap: Bootstrap = STANDARD,
) -> tuple[float, Interval]:
    """Returns the ratio of two mean paired differences, with its interval: position gained for spelling gained.

    A family is drawn with its examples of both, so what its words have in common is kept. The ratio of what may be
    zero can be anything: ask only where the interval of the denominator excludes zero. There is no interval where a
    task has examples of fewer than 30 families.

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
    enough = np.count_nonzero(totals[:, [1, 3]], axis=0).min() >= FEWEST_FAMILIES
    return float(ratio(*sums)), family_bootstrap(totals, ratio, bootstrap) if enough else NO_INTERVAL
