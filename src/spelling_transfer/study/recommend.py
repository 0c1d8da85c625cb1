"""Which configuration to take: the best, those not distinguishable from it, the cheapest; and what to run next."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from spelling_transfer.statistics.intervals import Interval, wilson_interval
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.study.choices import NUMBERED
from spelling_transfer.study.config import AnalysisSettings, StudyConfigError, StudySettings, TrialConfig, setting_names
from spelling_transfer.study.confirm import ends
from spelling_transfer.study.correctness import resample_correctness
from spelling_transfer.study.findings import FEW_TRIALS, warnings_of
from spelling_transfer.study.interfaces import StudyError, counted
from spelling_transfer.study.selection import selection_resamples
from spelling_transfer.tasks.registry import TRAINED_TASK

_BIASED = (
    "The best of {n} scores on the same questions is too high by chance; only runs with new seeds, and the evaluation "
    "on other words, say how good the configuration is."
)


def recommend(
    trials: pd.DataFrame,
    marks: pd.DataFrame,
    search_space: dict[str, Any],
    study: StudySettings,
    defaults: TrialConfig,
    analysis: AnalysisSettings,
) -> dict[str, Any]:
    """Returns what a study recommends, before it is confirmed with new seeds.

    Returns:
        ``trial`` (its number), ``selection_score`` with its ``interval``, ``runner_up_selection_score``,
        ``transfer_score``, ``config`` (in full), ``choices`` (what the search chose), ``cost``; ``equivalent``: the
        trials that cannot be distinguished from it, each with the difference and its interval; ``cheapest`` of these
        and the best; ``finished`` trials and ``warnings``; ``next_study`` and ``study``.

    Raises:
        StudyError: No trial was completed.
    """
    finished = counted(trials).sort_values(["selection_score", "number"], ascending=[False, True], kind="stable")
    if finished.empty:
        states = ", ".join(f"{n} {state}" for state, n in trials["state"].value_counts().items())
        raise StudyError(
            f"study: no trial was completed ({states or 'there is none'}), so none can be recommended. Raise "
            "'study.n_trials', or set 'study.pruner' to none."
        )
    rows = [_described(row, trials, defaults) for _, row in finished.iterrows()]
    best = rows[0]
    intervals = _differences(best["trial"], marks, study, analysis.bootstrap)
    for row in rows:
        own, difference = intervals.get(row["trial"], (None, None))
        row["interval"] = None if own is None else ends(own)
        row["difference"] = row["selection_score"] - best["selection_score"]
        row["difference_interval"] = None if difference is None else ends(difference)
    equivalent = [row for row in rows[1:] if not _excludes_zero(row["difference_interval"])]
    cheapest = min([best, *equivalent], key=_cost_key)
    runner_up = rows[1]["selection_score"] if len(rows) > 1 else None
    asked = marks.loc[marks["task"] == TRAINED_TASK, "example_id"].nunique() if len(marks) else study.validation_words
    warnings = warnings_of(trials, study.sampler, study.startup_trials)
    if len(rows) > 1:
        warnings = [*warnings, _BIASED.format(n=len(rows))]
    return {
        **{key: best[key] for key in ("trial", "selection_score", "interval", "config", "choices", "cost")},
        "transfer_score": best["transfer_score"],
        "runner_up_selection_score": runner_up,
        "equivalent": [{key: value for key, value in row.items() if key != "config"} for row in equivalent],
        "cheapest": cheapest,
        "finished": len(rows),
        "warnings": warnings,
        "next_study": next_study(
            rows, equivalent, asked=asked, study=study, search_space=search_space, defaults=defaults
        ),
        "study": {
            "name": study.name,
            "focus": study.focus_name,
            "select_by": study.select_by,
            "weights": {"position": study.weights.position, "count": study.weights.count},
            "sampler": study.sampler,
            "seed": study.seed,
            "trials": len(trials),
            "validation_words": study.validation_words,
        },
    }


def _described(row: pd.Series[Any], trials: pd.DataFrame, defaults: TrialConfig) -> dict[str, Any]:
    varied = {name: _plain(row[name]) for name in trials.columns if "." in name and pd.notna(row[name])}
    config = defaults.varied({**varied, "training.seed": int(row["seed"])})
    training = config.training
    steps = int(row["steps"])
    return {
        "trial": int(row["number"]),
        "selection_score": float(row["selection_score"]),
        "transfer_score": float(row["transfer_score"]),
        "choices": varied,
        # Seconds depend on the machine and on what else it does; examples seen do not.
        "cost": {"steps": steps, "examples": steps * training.batch_size * training.grad_accum_steps},
        "config": config.model_dump(mode="json"),
    }


def _differences(
    best: int, marks: pd.DataFrame, study: StudySettings, bootstrap: Bootstrap
) -> dict[int, tuple[Interval, Interval]]:
    if marks.empty or best not in set(marks["number"]):
        return {}
    resamples = resample_correctness(marks, bootstrap)
    scores = selection_resamples(resamples, study.select_by, study.weights)
    change = scores.minus(scores.at(resamples.place(best)))
    families = marks.loc[marks["task"] == TRAINED_TASK, "stem"].nunique()

    def own(place: int) -> Interval:
        found = scores.interval(place)
        if study.select_by == "spelling" and found.low == found.high:  # all right or all wrong, which is no certainty
            return wilson_interval(round(float(scores.value[place]) * families), families)
        return found

    return {number: (own(place), change.interval(place)) for place, number in enumerate(resamples.numbers)}


def _cost_key(row: dict[str, Any]) -> tuple[int, int, float, int]:
    return row["cost"]["examples"], row["config"]["lora"]["r"], -row["selection_score"], row["trial"]


def _excludes_zero(ends: list[float] | None) -> bool:
    return ends is not None and Interval(*ends).excludes(0.0)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


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
    asked: int,
    study: StudySettings,
    search_space: dict[str, Any],
    defaults: TrialConfig,
) -> dict[str, Any]:
    """Returns what is worth running next.

    Args:
        rows: Finished trials, best first, as ``recommend`` describes them.
        equivalent: Those that cannot be distinguished from the best.
        asked: Validation words that trials were asked to spell; fewer than the study allows where there are no more.
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
        reasons.append(f"The best {name} ({_short(value)}) is at the {side} end of what was searched: go beyond it.")
    if wider:
        changes["space"] = {**search_space, **{name: entry for name, (entry, _) in wider.items()}}
    undecided = len(equivalent) / max(len(rows) - 1, 1)
    if len(rows) > 1 and undecided >= 0.5:
        words = _words_needed(best, equivalent, asked)
        alike = (
            f"{len(equivalent)} of {len(rows) - 1} other trials cannot be distinguished from the best on "
            f"{asked} validation words"
        )
        if math.isinf(words):
            reasons.append(f"{alike}; half of these or more score just what it does, so which is best stays open.")
        elif words > _MOST_WORDS:
            reasons.append(f"{alike}; it would take about {words:,.0f}, so which is best stays open.")
        elif words > asked and asked < study.validation_words:
            reasons.append(f"{alike}, which are all there are; about {words:,.0f} would: prepare a longer word list.")
        elif words > asked:
            reasons.append(f"{alike}; about {words:,.0f} would distinguish half of them.")
            changes["validation_words"] = int(words)
    if len(rows) < FEW_TRIALS and space:
        reasons.append(
            f"{len(rows)} finished trial{' is' if len(rows) == 1 else 's are'} too few to see which settings matter: "
            f"run at least {FEW_TRIALS}, chosen at random."
        )
        changes |= {"n_trials": FEW_TRIALS, "sampler": "random"}
    elif study.sampler not in NUMBERED and not wider:
        reasons.append("Before settings are compared with each other: a random study over the same space.")
        changes |= {"n_trials": max(len(rows), FEW_TRIALS), "sampler": "random"}
    if not reasons:
        reasons.append("The best configuration lies inside the space and apart from most: train it longer.")
    if changes:
        changes = {"name": f"{study.name}-next", **changes}
    return {"reasons": reasons, "study": changes}


def _words_needed(best: dict[str, Any], equivalent: list[dict[str, Any]], words: int) -> float:
    # The width of an interval falls with the root of the number of questions; the middle trial is aimed at. No number
    # of questions distinguishes a trial that scores the same.
    factors: list[float] = []
    for row in equivalent:
        ends, difference = row["difference_interval"], abs(row["difference"])
        if ends is not None:
            factors.append(((ends[1] - ends[0]) / 2 / difference) ** 2 if difference > 1e-9 else math.inf)
    if not factors:
        return words
    middle = sorted(factors)[len(factors) // 2]
    wanted = words * max(middle, 1.0)
    return math.inf if math.isinf(wanted) else math.ceil(wanted / 100) * 100


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
    try:
        defaults.varied({name: value})
    except StudyConfigError:
        return False
    return True


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
