"""Exact tests of "no difference" between two arms on the same questions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Returns the two-sided exact McNemar p-value: were the disagreements a fair coin's?

    Only examples that exactly one arm has right say anything; given their number m, the count of one kind follows
    Binomial(m, 1/2) if the arms are equally good. Without disagreements the value is 1.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12 (1947), in its exact binomial form.
    """
    from scipy.special import bdtr

    disagreements = only_first + only_second
    if disagreements == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), disagreements, 0.5)))


def sign_flip_exact(differences: ArrayLike) -> float:
    """Returns the two-sided exact p-value of a sum of differences whose signs are a fair coin's, one a word family.

    With one question a family and one seed an arm it is McNemar's test. Its distribution is computed, not drawn: the
    sizes of the differences are given, and the sums of those that point upwards are convolved.

    Source: R. A. Fisher, "The Design of Experiments" (1935), section 21.

    Args:
        differences: The difference of each family in whole numbers, shape (families,).
    """
    from scipy.special import gammaln

    values = np.asarray(differences)
    if not np.array_equal(values, np.round(values)):
        raise ValueError("sign flips: differences must be whole numbers; multiply by the number of seeds first.")
    sizes, counts = np.unique(np.abs(values[values != 0]).astype(int), return_counts=True)
    if not len(sizes):
        return 1.0
    if len(sizes) == 1:
        return mcnemar_exact(int((values > 0).sum()), int((values < 0).sum()))
    step = int(np.gcd.reduce(sizes))
    distribution = np.ones(1)

    def fair_coin(n: int) -> NDArray[np.floating[Any]]:
        heads = np.arange(n + 1)
        return np.asarray(np.exp(gammaln(n + 1) - gammaln(heads + 1) - gammaln(n - heads + 1) - n * np.log(2)))

    for size, count in zip(sizes // step, counts, strict=True):
        upwards = np.zeros(size * count + 1)
        upwards[::size] = fair_coin(int(count))
        distribution = np.convolve(distribution, upwards)  # by FFT, small probabilities would drown in its rounding
    total = int((sizes // step * counts).sum())
    observed = int(values[values > 0].sum()) // step
    tail = distribution[: min(observed, total - observed) + 1].sum()
    return min(1.0, 2 * float(tail))
