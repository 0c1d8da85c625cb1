"""Which study to run next: what this one left open, and the settings that would close it."""

from __future__ import annotations

import math
from typing import Any

from spelling_transfer.study.config import StudySettings, TrialConfig, setting_names
from spelling_transfer.study.transfer import FEW_TRIALS, UNGUIDED_SAMPLERS

_EDGE = 0.1
"""A value within this share of a range (on its own scale) is at its edge."""
_LONGER_BY = (0.5, 0.25, 0.1)
"""Shares of a range to add at its end; the largest that the setting allows is taken."""
_MOST_WORDS = 2_000
"""More validation words than this are not asked for: a difference that needs them is none to act upon."""


def next_study(
    rows: list[dict[str, Any]],
    equivalent: list[dict[str, Any]],
    *,
    study: StudySettings,
    search_space: dict[str, Any],
    defaults: TrialConfig,
) -> dict[str, Any]:
    """Returns what is worth running next.

    Args:
        rows: Finished trials, best first, as ``recommend`` describes them.
        equivalent: Those that cannot be told from the best.
        study: The study.
        search_space: The entries of the space by setting name.
        defaults: The configuration the trials varied.

    Returns:
        ``reasons`` (sentences) and ``study`` (settings to change, ``space`` among them).
    """
    reasons: list[str] = []
    changes: dict[str, Any] = {}
    best = rows[0]
    space = {name: entry for name, entry in search_space.items() if name in setting_names()}
    wider = {name: found for name, entry in space.items() if (found := _wider(name, entry, best["choices"], defaults))}
    for name, (_, side) in wider.items():
        value = best["choices"][name]
        reasons.append(f"The best {name} ({_short(value)}) is at the {side} end of what was searched: look beyond it.")
    if wider:
        changes["space"] = {**search_space, **{name: entry for name, (entry, _) in wider.items()}}
    undecided = len(equivalent) / max(len(rows) - 1, 1)
    if len(rows) > 1 and undecided >= 0.5:
        words = _words_needed(best, equivalent, study.validation_words)
        alike = (
            f"{len(equivalent)} of {len(rows) - 1} other trials cannot be told from the best on "
            f"{study.validation_words} validation words a task"
        )
        if words > _MOST_WORDS:
            reasons.append(f"{alike}; it would take about {words:,}. Take the cheapest of them.")
        elif words > study.validation_words:
            reasons.append(f"{alike}; about {words:,} would tell half of them apart.")
            changes["validation_words"] = words
    if len(rows) < FEW_TRIALS and space:
        reasons.append(
            f"{len(rows)} finished trials are too few to see which settings matter: run at least {FEW_TRIALS}, chosen "
            "at random."
        )
        changes |= {"n_trials": FEW_TRIALS, "sampler": "random"}
    elif study.sampler not in UNGUIDED_SAMPLERS and not wider:
        reasons.append("Before settings are compared with each other: a random study over the same space.")
        changes |= {"n_trials": max(len(rows), FEW_TRIALS), "sampler": "random"}
    if not reasons:
        reasons.append("The best configuration lies inside the space and apart from most: train it longer.")
    if changes:
        changes = {"name": f"{study.name}-next", **changes}
    return {"reasons": reasons, "study": changes}


def _words_needed(best: dict[str, Any], equivalent: list[dict[str, Any]], words: int) -> int:
    # The width of an interval falls with the root of the number of questions; the middle trial is aimed at.
    factors: list[float] = []
    for row in equivalent:
        ends, difference = row["difference_interval"], abs(row["difference"])
        if ends is not None and difference > 0:
            factors.append(((ends[1] - ends[0]) / 2 / difference) ** 2)
    if not factors:
        return words
    middle = sorted(factors)[len(factors) // 2]
    wanted = words * max(middle, 1.0)
    return int(math.ceil(wanted / 100) * 100)


def _wider(
    name: str, entry: dict[str, Any], choices: dict[str, Any], defaults: TrialConfig
) -> tuple[dict[str, Any], str] | None:
    value = choices.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    tries: list[tuple[dict[str, Any], str] | None] = []
    if "values" in entry:
        tries = [_next_candidate(list(entry["values"]), value)]
    elif entry.get("low") is not None and entry.get("high") is not None:
        tries = [_longer_range(entry, value, by) for by in _LONGER_BY]
    for found in tries:
        if found is None:
            return None
        new, _ = found
        ends = new["values"] if "values" in new else [new["low"], new["high"]]
        if all(_allowed(name, end, defaults) for end in ends):
            return found
    return None


def _next_candidate(values: list[Any], value: float) -> tuple[dict[str, Any], str] | None:
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in values) or len(values) < 3:
        return None
    ordered = sorted(values)
    if value == ordered[-1] and ordered[-2] > 0:
        beyond = ordered[-1] * ordered[-1] / ordered[-2]
        return {"values": [*ordered, type(ordered[-1])(beyond)]}, "upper"
    if value == ordered[0] and ordered[0] > 0:
        beyond = ordered[0] * ordered[0] / ordered[1]
        below = type(ordered[0])(beyond)
        return ({"values": [below, *ordered]}, "lower") if 0 < below < ordered[0] else None
    return None


def _longer_range(entry: dict[str, Any], value: float, by: float) -> tuple[dict[str, Any], str] | None:
    log = bool(entry.get("log"))

    def scale(number: float) -> float:
        return math.log(number) if log else float(number)

    low, high = entry["low"], entry["high"]
    share = (scale(value) - scale(low)) / (scale(high) - scale(low))
    is_whole = isinstance(low, int) and isinstance(high, int)
    more = by * (scale(high) - scale(low))
    if share >= 1 - _EDGE:
        beyond = scale(high) + more
        return {**entry, "high": _number(math.exp(beyond) if log else beyond, is_whole)}, "upper"
    if share <= _EDGE:
        beyond = scale(low) - more
        below = math.exp(beyond) if log else max(beyond, 0.0)
        number = _number(below, is_whole)
        return ({**entry, "low": number}, "lower") if number < low else None
    return None


def _number(value: float, is_whole: bool) -> float | int:
    return round(value) if is_whole else float(f"{value:.2g}")


def _allowed(name: str, value: Any, defaults: TrialConfig) -> bool:
    from spelling_transfer.study.config import StudyConfigError

    try:
        defaults.varied({name: value})
    except StudyConfigError:
        return False
    return True


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
