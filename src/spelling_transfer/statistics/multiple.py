"""P-values of several hypotheses, adjusted: none of those declared is claimed falsely, or few of those explored."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from spelling_transfer.statistics.intervals import Floats


def holm(p_values: ArrayLike) -> Floats:
    """Returns p-values adjusted so that a false claim among *any* of the hypotheses is as rare as the level says.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979).

    Args:
        p_values: One a hypothesis, shape (hypotheses,).

    Raises:
        ValueError: One is missing, or no p-value.
    """
    p = _between_0_and_1(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """Returns p-values adjusted so that the expected share of false claims among the claims is at most the level.

    Source: Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", Journal of the Royal Statistical
    Society B 57 (1995).

    Args:
        p_values: One a hypothesis, shape (hypotheses,).

    Raises:
        ValueError: One is missing, or no p-value.
    """
    p = _between_0_and_1(p_values)
    order = np.argsort(-p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)


def _between_0_and_1(p_values: ArrayLike) -> Floats:
    p = np.asarray(p_values, dtype=float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values: each has to be a number from 0 to 1. Leave out hypotheses that were not tested.")
    return p
