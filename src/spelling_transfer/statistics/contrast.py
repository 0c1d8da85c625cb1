"""A weighted difference between arms that answered the same questions, judged over word families and training seeds.

What is measured is one number, ``Σ weight · share of right answers``: the spelling arm less the base model, for
instance. Two things would differ another time: the words, and the seeds that the arms were trained with. Families are
common to all arms, so their part is the variance of the difference within families. Seeds are an arm's own, so their
parts add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from spelling_transfer.statistics.intervals import CONFIDENCE, Floats, Interval, number_families

FEWEST_SEEDS = 3
"""Fewer seeds than this cannot show how far seeds differ: an assumed spread stands in."""
PSEUDO_FAMILIES = 2
_SUREST = 1 - 1e-9
"""A p-value of seeds is not computed below 1e-9."""
_CLOSE_ENOUGH = 1e-9


class SeedEffect(NamedTuple):
    """What the training seeds of an arm add to the variance of its share of right answers.

    Attributes:
        variance: Variance of the arm's mean over its seeds, of the seeds alone.
        df: Degrees of freedom of that variance; infinite where it was assumed.
    """

    variance: float
    df: float


class Contrast(NamedTuple):
    """A weighted difference between arms, with what it may differ by another time.

    Attributes:
        families: Word families.
        estimate: The weighted sum of the arms' shares.
        centre: Middle of its interval: the estimate with two families more, one for and one against.
        family_variance: Variance over word families.
        seed_variance: Variance over training seeds.
        seed_df: Degrees of freedom of the variance over seeds; infinite where it was assumed or adds nothing.
        height: How much a family differs that does; 1 where none was seen.
    """

    families: int
    estimate: float
    centre: float
    family_variance: float
    seed_variance: float
    seed_df: float
    height: float = 1.0

    @property
    def standard_error(self) -> float:
        """Square root of both variances."""
        return math.sqrt(self.family_variance + self.seed_variance)

    def half_width(self, confidence: float = CONFIDENCE) -> float:
        """Returns half the width of the interval: ``sqrt(z² · family variance + t² · seed variance)``.

        Each part has the quantile that its own interval has, and the parts are joined as squares. One t for both, by
        Satterthwaite, is too small whenever three seeds happen to lie close together: it covers 90% and not 95%.

        Source: G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: a general approach",
        Statistics in Medicine 27 (2008), the method of variance estimates recovery.
        """
        over_seeds = quantile(confidence, self.seed_df) ** 2 * self.seed_variance if self.seed_variance > 0 else 0.0
        return math.sqrt(quantile(confidence) ** 2 * self.family_variance + over_seeds)

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Returns the interval around the centre, cut off at -1 and 1."""
        half = self.half_width(confidence)
        return Interval(max(self.centre - half, -1.0), min(self.centre + half, 1.0))

    @property
    def p_value(self) -> float:
        """Two-sided p-value of "no difference": 1 less the confidence of the interval that ends at zero."""
        from scipy.optimize import brentq
        from scipy.special import ndtr

        distance = abs(self.centre)
        if not self.standard_error > 0:
            return 1.0
        if math.isinf(self.seed_df):
            return float(2 * ndtr(-distance / self.standard_error))
        if distance >= self.half_width(_SUREST):
            return 1 - _SUREST
        return 1 - float(brentq(lambda confidence: self.half_width(confidence) - distance, 0.0, _SUREST, xtol=1e-12))

    def detectable(self, *, alpha: float = 0.05, power: float = 0.8) -> float:
        """Returns the smallest true difference that such a set finds with the given power.

        Half the interval's width at ``1 - alpha`` and ``z(power) · standard error``, with the variance that was seen.
        Where fewer families were seen to differ than a difference ``d`` takes, with the variance of those that it
        takes: ``height · d / families`` for the interval, ``(height · d - d²) / families`` for the power.

        Source: R. J. Connor, "Sample size for testing differences in proportions for the paired-sample design",
        Biometrics 43 (1987), solved for the difference.
        """
        difference, before = 0.0, -1.0
        while difference - before > _CLOSE_ENOUGH:
            before = difference
            around_none = self.height * before / self.families
            around_it = around_none - before**2 / self.families
            null, true = (
                self._replace(family_variance=max(self.family_variance, each)) for each in (around_none, around_it)
            )
            difference = null.half_width(1 - alpha) + quantile(2 * power - 1) * true.standard_error
        return difference


def quantile(confidence: float, df: float = math.inf) -> float:
    """Returns the two-sided quantile of Student's t; the normal one where ``df`` is infinite.

    Raises:
        ValueError: The confidence is no share.
    """
    from scipy.special import ndtri, stdtrit

    if not 0 <= confidence < 1:
        raise ValueError(f"confidence: {confidence:g} is not between 0 and 1: 0.95 for 95%.")
    tail = (1 + confidence) / 2
    return float(stdtrit(df, tail) if math.isfinite(df) else ndtri(tail))


def family_values(correct: ArrayLike, families: ArrayLike, among: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Returns an arm's right answers by family, in units in which their mean over families is the share of right ones.

    Args:
        correct: Whether an answer is right, shape (seeds, questions), or (questions,) for one seed.
        families: The word family of each question, shape (questions,).
        among: All families, sorted, where some of them may have no question; those of the questions if not given.

    Returns:
        The values, shape (seeds, families), and each family's number of questions over the mean number, (families,).
    """
    right = np.atleast_2d(np.asarray(correct, dtype=float))
    if among is None:
        place, sizes = number_families(families)
    else:
        place = np.searchsorted(np.asarray(among), np.asarray(families))
        sizes = np.bincount(place, minlength=len(np.asarray(among)))
    mean_size = sizes.mean()
    if (sizes == 1).all():
        return right[:, np.argsort(place)], np.ones(len(sizes))
    totals = np.stack([np.bincount(place, weights=row, minlength=len(sizes)) for row in right])
    return totals / mean_size, sizes / mean_size


def seed_effect(values: Floats, spread: float = 0.0) -> SeedEffect:
    """Returns what training seeds add to the variance of an arm's share of right answers.

    From three seeds on it is estimated: the variance between the seeds' shares, less what the same questions answered
    by chance would give (the residual of the two-way layout of seeds and families), not below zero. Below that it is
    what is assumed, ``spread² / seeds``.

    Source: the analysis-of-variance estimate of a crossed layout: S. R. Searle, G. Casella and C. E. McCulloch,
    "Variance Components" (1992), chapter 4.

    Args:
        values: Right answers by seed and family, shape (seeds, families), of ``family_values``.
        spread: Standard deviation of a seed's effect on the share, assumed where there are fewer than three seeds.
    """
    seeds, families = values.shape
    if seeds < FEWEST_SEEDS or families < 2:
        return SeedEffect(spread**2 / seeds, math.inf)
    by_seed = values.mean(axis=1)
    rest = values - values.mean(axis=0) - (by_seed - by_seed.mean())[:, np.newaxis]
    by_chance = (rest**2).sum() / ((seeds - 1) * (families - 1)) / families
    return SeedEffect(max(float(by_seed.var(ddof=1) - by_chance), 0.0) / seeds, seeds - 1)


def contrast(
    arms: Sequence[Floats],
    weights: Sequence[float],
    shares: Floats | None = None,
    spreads: Sequence[float] | None = None,
    *,
    pseudo_families: bool = True,
) -> Contrast:
    """Returns a weighted difference between arms with its variance over families and over seeds.

    Two pseudo-families are added, one for and one against, as large as the differences that were seen. With one seed
    and one question a family this is the interval of Bonett and Price. Where few answers differ, the plain interval
    (Wald's) and the percentile bootstrap are too narrow: ``benchmarks/simulation.py`` shows both.

    Source: D. G. Bonett and R. M. Price, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data", Journal of Educational and Behavioral Statistics 37 (2012). Degrees of freedom of several
    arms' seeds: F. E. Satterthwaite, "An approximate distribution of estimates of variance components", Biometrics
    Bulletin 2 (1946).

    Args:
        arms: Right answers of each arm by seed and family, each (seeds, families); the same families for all.
        weights: The weight of each arm.
        shares: Each family's questions over the mean number, shape (families,); ones if not given.
        spreads: For each arm, the spread of its seeds, assumed where it has fewer than three; zeros if not given.
        pseudo_families: Whether to add the two.
    """
    families = arms[0].shape[1]
    size = np.ones(families) if shares is None else shares
    change = sum((weight * arm.mean(axis=0) for weight, arm in zip(weights, arms, strict=True)), np.zeros(families))
    extra = PSEUDO_FAMILIES if pseudo_families else 0
    absolute = float(np.abs(change).sum())
    height = float((change**2).sum()) / absolute if absolute > 0 else 1.0
    centre = float(change.sum()) / (families + extra)
    squares = float(((change - centre * size) ** 2).sum()) + extra * (height**2 + centre**2)
    seeds = [
        (weight**2 * effect.variance, effect.df)
        for weight, arm, spread in zip(weights, arms, spreads or [0.0] * len(arms), strict=True)
        for effect in (seed_effect(arm, spread),)
    ]
    seed_variance = sum(variance for variance, _ in seeds)
    uncertain = sum(variance**2 / df for variance, df in seeds)
    return Contrast(
        families=families,
        estimate=float(change.sum()) / families,
        centre=centre,
        family_variance=squares / (families + extra) ** 2,
        seed_variance=seed_variance,
        seed_df=seed_variance**2 / uncertain if uncertain > 0 else math.inf,
        height=height,
    )
