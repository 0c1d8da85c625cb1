"""Which configuration to take: the best, those that cannot be told from it, the cheapest of them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.statistics.intervals import Interval
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.study.config import StudyConfigError, StudySettings, TrialConfig
from spelling_transfer.study.confirm import ends
from spelling_transfer.study.correctness import resample_correctness
from spelling_transfer.study.interfaces import counted
from spelling_transfer.study.next_study import next_study
from spelling_transfer.study.transfer import warnings_of

_BIASED = (
    "The best of {n} scores on the same questions is too high by chance; only runs with new seeds, and the evaluation "
    "on other words, say how good the configuration is."
)


def recommend(
    trials: pd.DataFrame,
    marks: pd.DataFrame,
    defaults: TrialConfig,
    *,
    study: StudySettings,
    search_space: dict[str, Any],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Returns what a study recommends, before it is confirmed with new seeds.

    Args:
        trials: One row a trial; the columns with a dot are the settings that were varied.
        marks: What ``read_marks`` returns.
        defaults: The configuration the trials varied.
        study: The study.
        search_space: The entries of the space by setting name.
        bootstrap: How word families are resampled.

    Returns:
        ``trial`` (its number), ``transfer_score`` with its ``interval``, ``runner_up_transfer_score``, ``config`` (in
        full), ``choices`` (what the search chose), ``cost``; ``equivalent``: the trials whose difference to it cannot
        be told from zero, each with the difference and its interval; ``cheapest`` of these and the best; ``finished``
        trials and ``warnings``; ``next_study`` and ``study``.

    Raises:
        StudyConfigError: No trial was completed.
    """
    finished = counted(trials).sort_values(["transfer_score", "number"], ascending=[False, True], kind="stable")
    if finished.empty:
        states = ", ".join(f"{n} {state}" for state, n in trials["state"].value_counts().items())
        raise StudyConfigError(
            f"study: no trial was completed ({states or 'there is none'}), so none can be recommended. Raise "
            "'study.n_trials', or set 'study.pruner' to none."
        )
    rows = [_described(row, trials, defaults) for _, row in finished.iterrows()]
    best = rows[0]
    intervals = _differences(best["trial"], marks, study, bootstrap)
    for row in rows:
        own, difference = intervals.get(row["trial"], (None, None))
        row["interval"] = None if own is None else ends(own)
        row["difference"] = row["transfer_score"] - best["transfer_score"]
        row["difference_interval"] = None if difference is None else ends(difference)
    equivalent = [row for row in rows[1:] if not _excludes_zero(row["difference_interval"])]
    cheapest = min([best, *equivalent], key=_cost_key)
    runner_up = rows[1]["transfer_score"] if len(rows) > 1 else None
    warnings = warnings_of(trials, study.sampler)
    if len(rows) > 1:
        warnings = [*warnings, _BIASED.format(n=len(rows))]
    return {
        **{key: best[key] for key in ("trial", "transfer_score", "interval", "config", "choices", "cost")},
        "runner_up_transfer_score": runner_up,
        "equivalent": [{key: value for key, value in row.items() if key != "config"} for row in equivalent],
        "cheapest": cheapest,
        "finished": len(rows),
        "warnings": warnings,
        "next_study": next_study(rows, equivalent, study=study, search_space=search_space, defaults=defaults),
        "study": {
            "name": study.name,
            "focus": study.focus,
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
    scores = resamples.transfer_scores(study.weights)
    change = scores.minus(scores.at(resamples.place(best)))
    return {number: (scores.interval(place), change.interval(place)) for place, number in enumerate(resamples.numbers)}


def _cost_key(row: dict[str, Any]) -> tuple[int, int, float, int]:
    return row["cost"]["examples"], row["config"]["lora"]["r"], -row["transfer_score"], row["trial"]


def _excludes_zero(ends: list[float] | None) -> bool:
    return ends is not None and Interval(*ends).excludes(0.0)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
