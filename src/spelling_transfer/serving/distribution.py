"""How the next token has to be distributed, computed directly, and whether drawn tokens are distributed so.

Nothing here is shared with `models.generate`, which draws: a fault there is none here. Which prompts are asked is
computed from the model, such that each wrong way to sample (a *rival*) would be rejected there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spelling_transfer.models.generate import Sampling

ALPHA = 1e-6
"""Chance that one test rejects a sampler that is right."""
POWER = 0.999
"""Chance with which all chosen prompts together have to reject each rival."""
N_DRAWS = (256, 1024, 4096)
"""First tokens that are drawn at each chosen prompt: more where a model is so confident that few draws show nothing."""
MOST_PROMPTS = 6
_MIN_EXPECTED = 5.0
"""Expected draws of a cell of the chi-square test; rarer tokens share a cell (Cochran, 1954)."""
_CUT_MARGIN = 0.003
"""Probability mass by which the cut of top-p has to be clear of rounding."""

Rival = Callable[[np.ndarray], np.ndarray]
"""From the logits of all rows, shape ``(rows,)``, to the probabilities a wrong sampler would draw with."""


def policy_distribution(logits: np.ndarray, sampling: Sampling, allowed: np.ndarray) -> np.ndarray:
    """Returns the probability of each token: filter, temperature, top-k, top-p, min-p, in this order.

    Args:
        logits: Of the next token, shape ``(rows,)``.
        sampling: The values.
        allowed: Which rows may be drawn at all, bool, shape ``(rows,)``.

    Returns:
        Float64, shape ``(rows,)``, with sum 1.
    """
    kept, best = _top_k_shares(logits, sampling, allowed)
    before = np.cumsum(kept[best]) - kept[best]
    kept[best[before >= sampling.top_p]] = 0.0
    kept[kept < sampling.min_p * kept.max()] = 0.0
    return np.asarray(kept / kept.sum())


def _top_k_shares(logits: np.ndarray, sampling: Sampling, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the shares of the best rows, none of them cut, and these rows in order."""
    scaled = np.where(allowed, logits.astype(np.float64) / sampling.temperature, -np.inf)
    best = np.argsort(-scaled, kind="stable")[: min(sampling.top_k, int(allowed.sum()))]
    kept = np.zeros(len(scaled))
    kept[best] = np.exp(scaled[best] - scaled[best[0]])
    return kept / kept.sum(), best


def clear_of_rounding(logits: np.ndarray, sampling: Sampling, allowed: np.ndarray, tolerance: float) -> bool:
    """Whether the same tokens stay in when each logit is off by a tolerance, so that no right draw is called wrong."""
    order = np.argsort(-np.where(allowed, logits, -np.inf), kind="stable")[: int(allowed.sum())]
    n_in = int((policy_distribution(logits, sampling, allowed) > 0).sum())
    # Whatever cuts: the last that is in and the first that is out must not change places.
    clear_of_each_other = n_in == len(order) or logits[order[n_in - 1]] - logits[order[n_in]] > tolerance
    in_top_k, _ = _top_k_shares(logits, sampling, allowed)
    sums = np.cumsum(np.sort(in_top_k)[::-1])
    clear_of_p = sampling.top_p == 1.0 or float(np.abs(sums - sampling.top_p).min()) > max(_CUT_MARGIN, tolerance / 4)
    shares = in_top_k[in_top_k > 0] / in_top_k.max()
    clear_of_min = sampling.min_p == 0.0 or float(np.abs(shares / sampling.min_p - 1).min()) > 4 * tolerance
    return bool(clear_of_each_other and clear_of_p and clear_of_min)


def rivals(sampling: Sampling, allowed: np.ndarray, possible: np.ndarray) -> dict[str, Rival]:
    """Returns the wrong ways to sample that a check has to tell from the right one, by name.

    Args:
        sampling: The right values.
        allowed: Which rows may be drawn.
        possible: Which rows could be drawn if the filter were forgotten.
    """

    def other(**values: float) -> Rival:
        changed = sampling.model_copy(update=values)
        return lambda logits: policy_distribution(logits, changed, allowed)

    found: dict[str, Rival] = {
        "greedy": lambda logits: np.eye(1, len(logits), int(np.argmax(np.where(allowed, logits, -np.inf))))[0],
        "temperature 1": other(temperature=1.0 if sampling.temperature != 1.0 else 0.5),
        "top-k 5": other(top_k=5 if sampling.top_k > 5 else 50),
        "no top-p": other(top_p=1.0 if sampling.top_p < 1.0 else 0.5),
        "no top-k": other(top_k=len(allowed)),
        "other min-p": other(min_p=0.0 if sampling.min_p > 0.0 else 0.1),
    }
    if (possible != allowed).any():
        found["no filter"] = lambda logits: policy_distribution(logits, sampling, possible)
    return found


REQUIRED_RIVALS = ("greedy", "temperature 1", "top-k 5", "no top-p")
"""Those that every model must tell apart; a filter, min-p and a large top-k show only in some models."""


def power(expected: np.ndarray, rival: np.ndarray, n_draws: int) -> float:
    """Returns the chance that ``n_draws`` of a rival are rejected by `compare_draws`, to first order."""
    from scipy import stats

    outside = float(rival[expected == 0].sum())
    found = 1.0 - (1.0 - min(outside, 1.0)) ** n_draws
    right, wrong = (_pooled(expected, values * n_draws, n_draws) for values in (expected, rival))
    if len(right) > 1 and right.min() > 0:
        shift = float(((wrong - right) ** 2 / right).sum())
        degrees = len(right) - 1
        found = max(found, float(stats.ncx2.sf(stats.chi2.isf(ALPHA, degrees), degrees, shift)) if shift else 0.0)
    return found


@dataclass(frozen=True)
class ChosenPrompts:
    """Prompts to draw at.

    Attributes:
        places: Their places among the candidates, the most telling first.
        n_draws: Draws at each of them.
        powers: The chance that all of them together reject each rival, by its name.
    """

    places: list[int]
    n_draws: int
    powers: dict[str, float]

    @property
    def unseen(self) -> list[str]:
        """The required rivals that could get through."""
        return [name for name in REQUIRED_RIVALS if self.powers.get(name, 0.0) < POWER]


def choose_prompts(distributions: Sequence[np.ndarray], wrong: Sequence[Mapping[str, np.ndarray]]) -> ChosenPrompts:
    """Chooses the fewest draws, and for these the fewest prompts, that reject every required rival, and others too.

    Args:
        distributions: The right probabilities at each candidate.
        wrong: Those of each rival at each candidate.
    """
    for n_draws in N_DRAWS:
        chosen = _choose(distributions, wrong, n_draws)
        if not chosen.unseen:
            break
    return chosen


def _choose(
    distributions: Sequence[np.ndarray], wrong: Sequence[Mapping[str, np.ndarray]], n_draws: int
) -> ChosenPrompts:
    names = list(wrong[0]) if wrong else []
    required = np.array([name in REQUIRED_RIVALS for name in names])
    missed = np.ones(len(names))
    each = np.empty((len(wrong), len(names)))
    for place, (right, rival) in enumerate(zip(distributions, wrong, strict=True)):
        each[place] = [1.0 - power(right, rival[name], n_draws) for name in names]
    each = each.clip(1e-9, 1.0)
    places: list[int] = []
    while len(places) < min(MOST_PROMPTS, len(each)) and (wanted := missed > 1 - POWER).any():
        # The others have what the required ones leave; what is missed less often than it has to be counts no more.
        counted = wanted & required if (wanted & required).any() else wanted
        gain = (np.log(missed.clip(1 - POWER)) - np.log((missed * each).clip(1 - POWER)))[:, counted].sum(-1)
        gain[places] = -np.inf
        best = int(gain.argmax())
        if places and gain[best] <= 0:
            break
        places.append(best)
        missed = missed * each[best]
    return ChosenPrompts(places, n_draws, dict(zip(names, (1.0 - missed).tolist(), strict=True)))


@dataclass(frozen=True)
class DrawTest:
    """What drawn tokens say of a sampler.

    Attributes:
        n_draws: How many there were.
        outside: Rows that were drawn and cannot be, with their number.
        p_value: Of Pearson's chi-square test on all that can be drawn; 1 where there is nothing to test.
    """

    n_draws: int
    outside: dict[int, int]
    p_value: float


def compare_draws(expected: np.ndarray, drawn: Sequence[int]) -> DrawTest:
    """Compares drawn rows with their distribution.

    Args:
        expected: Probabilities, shape ``(rows,)``.
        drawn: The row of each draw.
    """
    from scipy import stats

    counts = np.bincount(np.asarray(drawn, dtype=np.int64), minlength=len(expected)).astype(np.float64)
    outside = {int(row): int(counts[row]) for row in np.flatnonzero((expected == 0) & (counts > 0))}
    observed, right = (_pooled(expected, values, len(drawn)) for values in (counts, expected * len(drawn)))
    if len(right) < 2 or not len(drawn):
        return DrawTest(len(drawn), outside, 1.0)
    statistic = float(((observed - right) ** 2 / right).sum())
    return DrawTest(len(drawn), outside, float(stats.chi2.sf(statistic, len(right) - 1)))


def _pooled(expected: np.ndarray, values: np.ndarray, n_draws: int) -> np.ndarray:
    """Sums values of rows whose expected count is small; rows that cannot be drawn are left out."""
    large = expected * n_draws >= _MIN_EXPECTED
    rare = (expected > 0) & ~large
    if expected[rare].sum() * n_draws >= _MIN_EXPECTED or not large.any():
        return np.append(values[large], values[rare].sum()) if rare.any() else values[large]
    cells = values[large].copy()
    cells[expected[large].argmin()] += values[rare].sum()
    return cells
