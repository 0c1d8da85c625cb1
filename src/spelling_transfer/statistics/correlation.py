"""How two quantities go together: Spearman's rank correlation, also with a third quantity held fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spelling_transfer.statistics.intervals import Floats, percentile_interval
from spelling_transfer.statistics.resampling import STANDARD, Bootstrap

FEWEST_GROUPS = 10
"""Resampling fewer rows or groups than this repeats the same few of them, so no interval is given."""
_FEWEST_ROWS = 3
_FEWEST_ROWS_PARTIAL = 5
"""With three rows a partial correlation is always 1 or -1, with four nearly so."""
_LARGEST_UNDEFINED_SHARE = 0.05


def correlate(
    first: ArrayLike,
    second: ArrayLike,
    given: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    bootstrap: Bootstrap = STANDARD,
) -> dict[str, float | int | None]:
    """Returns a rank correlation with its interval.

    With a third quantity it is the partial one: ranks of both are regressed on the ranks of the third, and what is
    left over is correlated. A third quantity that does not vary holds nothing fixed, and the value is Spearman's.

    Source: M. G. Kendall, "Partial rank correlation", Biometrika 32 (1942), in its form for Spearman's coefficient.

    Args:
        first: One quantity.
        second: The other.
        given: What is held fixed, if anything.
        groups: What is resampled: all rows of a group together; every row by itself if not given.
        bootstrap: How to resample.

    Returns:
        ``n`` rows, ``rho`` (``None`` where a quantity does not vary, or with fewer than three rows, five for a partial
        one), ``low`` and ``high`` (``None`` with fewer than ten groups, or where a resample in twenty leaves the value
        undefined).
    """
    columns = [np.asarray(each, dtype=float) for each in (first, second, *([] if given is None else [given]))]
    n = len(columns[0])
    statistic = _correlations if given is None else _partial
    found: dict[str, Any] = {"n": n, "rho": None, "low": None, "high": None}
    if n < (_FEWEST_ROWS if given is None else _FEWEST_ROWS_PARTIAL):
        return found
    rho = statistic(*(_ranks(column[np.newaxis]) for column in columns))[0]
    if not np.isfinite(rho):
        return found
    found["rho"] = float(rho)
    if groups is None:
        if n < FEWEST_GROUPS:
            return found
        values = bootstrap.values(lambda *drawn: statistic(*map(_ranks, drawn)), *columns)
    else:
        keys = np.unique(np.asarray(groups), return_inverse=True)[1]
        members = [np.flatnonzero(keys == key) for key in range(keys.max() + 1)]
        if len(members) < FEWEST_GROUPS:
            return found
        # Groups differ in size, so resamples do.
        draws = (draw for batch in bootstrap.indices(len(members)) for draw in batch)
        rows = (np.concatenate([members[key] for key in draw]) for draw in draws)
        values = np.array([statistic(*(_ranks(column[each][np.newaxis]) for column in columns))[0] for each in rows])
    defined = values[np.isfinite(values)]
    if len(defined) >= (1 - _LARGEST_UNDEFINED_SHARE) * len(values):
        found["low"], found["high"] = percentile_interval(defined, confidence=bootstrap.confidence)
    return found


def _ranks(rows: ArrayLike) -> Floats:
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.asarray(rows, dtype=float), axis=-1), dtype=float)


def _correlations(first: Floats, second: Floats) -> Floats:
    first, second = (each - each.mean(axis=-1, keepdims=True) for each in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
        # What is left after a perfect fit is rounding, and correlating that would say anything.
        return np.asarray(np.where(spread > 1e-9, (first * second).sum(axis=-1) / spread, np.nan))


def _partial(first: Floats, second: Floats, given: Floats) -> Floats:
    given = given - given.mean(axis=-1, keepdims=True)
    squares = (given**2).sum(axis=-1, keepdims=True)

    def rest(ranks: Floats) -> Floats:
        centred = ranks - ranks.mean(axis=-1, keepdims=True)
        slope = (centred * given).sum(axis=-1, keepdims=True) / np.where(squares > 0, squares, 1)
        return np.asarray(centred - slope * given)

    return _correlations(rest(first), rest(second))
