"""Which training helps: gains by the value of a setting, by difficulty of the words and by their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from spelling_transfer.statistics.importance import rate_importance
from spelling_transfer.statistics.intervals import NO_INTERVAL, percentile_interval
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.correctness import resample_correctness
from spelling_transfer.study.interfaces import counted

COLUMNS = ["pattern", "name", "value", "task", "trials", "questions", "gain", "low", "high"]
FEWEST_TRIALS = 3
"""A mean over fewer trials than this has no interval."""
_MOST_VALUES = 6
"""A setting with more values than this is cut into three ranges with equally many trials."""
_MOST_TOKENS = 4
_DIFFICULTIES = ("easy", "medium", "hard")


def find_patterns(
    trials: pd.DataFrame, marks: pd.DataFrame, base: dict[str, float], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Returns mean gains over the base model, by setting and by kind of question.

    Settings of a search vary together, so a mean by setting is no effect of the setting alone; the importance methods
    look at that. Kinds of questions are compared within the same trials.

    Args:
        trials: One row a trial; the columns with a dot are the settings that were varied.
        marks: What ``read_correctness`` returns.
        base: Exact match of the base model by task.
        bootstrap: How trials and families are resampled.

    Returns:
        One row a pattern, value and task. ``pattern`` is ``setting`` (``name`` is the setting; the interval is from
        resampled trials), ``difficulty`` or ``tokens`` (of the word; the interval is of the mean over trials, from
        resampled word families). ``gain`` is a difference of exact match.
    """
    kept = counted(trials)
    rows = [*_by_setting(kept, base, bootstrap)]
    marks = marks[marks["number"].isin(kept["number"])]
    difficulty = marks["difficulty"].astype(str)
    tokens = marks["n_tokens"].clip(upper=_MOST_TOKENS)
    for pattern, keys, label in (
        ("difficulty", difficulty, {name: name for name in _DIFFICULTIES}),
        ("tokens", tokens, {n: f"{n}+" if n == _MOST_TOKENS else str(n) for n in range(1, _MOST_TOKENS + 1)}),
    ):
        for key, value in label.items():
            part = marks[keys == key]
            if len(part):
                rows += _by_question(part, pattern, value, bootstrap)
    return pd.DataFrame(rows, columns=COLUMNS)


def rate_settings(trials: pd.DataFrame, search_space: dict[str, Any], *, seeds: int, seed: int = 0) -> pd.DataFrame:
    """Returns the importance of each searched setting for the transfer score; see ``rate_importance``.

    Args:
        trials: One row a trial; the columns with a dot are the settings that were varied.
        search_space: The entries of the space by setting name.
        seeds: How often the trials are drawn anew.
        seed: The first seed.
    """
    kept = counted(trials).dropna(subset=["transfer_score"])
    names = [name for name in kept.columns if "." in name and kept[name].notna().all()]
    return rate_importance(kept[names], kept["transfer_score"], search_space, seeds=seeds, seed=seed)


def _by_setting(trials: pd.DataFrame, base: dict[str, float], bootstrap: Bootstrap) -> Iterator[dict[str, Any]]:
    for name in (column for column in trials.columns if "." in column):
        values = trials[name].dropna()
        if values.nunique() < 2:
            continue
        for value, part in trials.loc[values.index].groupby(_labels(values), observed=True):
            for task in SCORED_TASKS:
                gains = part[task].to_numpy(dtype=float) - base[task]
                low, high = bootstrap.mean_interval(gains) if len(gains) >= FEWEST_TRIALS else NO_INTERVAL
                yield {
                    "pattern": "setting",
                    "name": name,
                    "value": str(value),
                    "task": task,
                    "trials": len(part),
                    "questions": None,
                    "gain": float(gains.mean()),
                    "low": low,
                    "high": high,
                }


def _labels(values: pd.Series[Any]) -> pd.Series[Any]:
    # In order of the values, so that a table reads from the lowest to the highest.
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if values.nunique() <= _MOST_VALUES or not is_number:
        order = sorted(values.unique())
        texts = [f"{value:.3g}" if is_number else str(value) for value in order]
        return values.map(dict(zip(order, texts, strict=True))).astype(pd.CategoricalDtype(texts, ordered=True))
    thirds = pd.qcut(values.rank(method="first"), 3, labels=False)
    ends = values.groupby(thirds).agg(["min", "max"])
    texts = [f"{low:.3g} to {high:.3g}" for low, high in zip(ends["min"], ends["max"], strict=True)]
    return thirds.map(dict(enumerate(texts))).astype(pd.CategoricalDtype(list(dict.fromkeys(texts)), ordered=True))


def _by_question(marks: pd.DataFrame, pattern: str, value: str, bootstrap: Bootstrap) -> Iterator[dict[str, Any]]:
    resamples = resample_correctness(marks, bootstrap)
    gains = resamples.gains()
    for column, task in enumerate(SCORED_TASKS):
        questions = marks.loc[marks["task"] == task, "example_id"].nunique()
        if not questions:
            continue
        low, high = percentile_interval(gains.resamples[:, :, column].mean(axis=1))
        yield {
            "pattern": pattern,
            "name": {"difficulty": "difficulty of the word", "tokens": "tokens of the word"}[pattern],
            "value": value,
            "task": task,
            "trials": len(resamples.numbers),
            "questions": questions,
            "gain": float(gains.value[:, column].mean()),
            "low": low,
            "high": high,
        }
