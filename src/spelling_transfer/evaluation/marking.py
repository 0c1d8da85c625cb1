"""Marks answers with the tasks' own markers and sums them up by arm, task and kind of question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.evaluation.strata import HELD_OUT
from spelling_transfer.statistics.intervals import CONFIDENCE, wilson_interval
from spelling_transfer.tasks.base import Task

_MARKS = ("exact", "lenient", "invalid")
_MAX_CLASSES = 30
"""A task with more right answers than this (spelling: one a word) is not broken down by answer."""
_MAX_TOKENS = 4


def check_tasks(names: Iterable[str], tasks: Mapping[str, Task]) -> None:
    """Checks that every task in the data is installed.

    Raises:
        EvaluationError: One is not; it was when the examples were written.
    """
    if unknown := sorted(set(names) - set(tasks)):
        raise EvaluationError(
            f"examples: no task named {', '.join(unknown)} is registered; there are {', '.join(sorted(tasks))}. "
            "Install the package that brings it, or make examples without it: "
            "'kedro run --pipelines=local_prep,evaluation'."
        )


def mark_answers(answers: pd.DataFrame, tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Marks every answer.

    Args:
        answers: The answers frame.
        tasks: The tasks by name.

    Returns:
        The answers with ``exact``, ``lenient`` and ``invalid`` (bool), ``read`` (what the lenient extractor read),
        ``answer_class`` (the class of the right answer) and one column for each measure of the tasks (``similarity``,
        ``absolute_error`` …), missing where a task or an answer has none.

    Raises:
        EvaluationError: An answer belongs to a task that is not installed.
    """
    check_tasks(answers["task"], tasks)
    marks = [tasks[row.task].mark(row, row.output) for row in answers.itertuples(index=False)]  # type: ignore[arg-type, index]
    classes = [
        tasks[task].answer_class(answer) for task, answer in zip(answers["task"], answers["answer"], strict=True)
    ]
    marked = answers.assign(
        **{name: np.array([getattr(mark, name) for mark in marks], dtype=bool) for name in _MARKS},
        read=[mark.read for mark in marks],
        answer_class=classes,
    )
    measures = sorted({name for mark in marks for name in mark.measures})
    return marked.assign(
        **{name: np.array([mark.measures.get(name, np.nan) for mark in marks], dtype=float) for name in measures}
    )


def of_first_seed(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the first seed of each arm: what is said of one training run rests on one."""
    return frame[frame["seed"] == frame.groupby("arm")["seed"].transform("min")]


def score_answers(marked: pd.DataFrame, *, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Sums up marked answers by arm and task, over all questions and by kind of question.

    Args:
        marked: What ``mark_answers`` returns.
        confidence: Confidence level of the Wilson intervals.

    Returns:
        One row an arm, seed, task and group, with ``group`` (``all``, ``difficulty``, ``n_tokens``,
        ``template_held_out``, ``asked`` (the argument), ``answer_class``, ``endpoint``) and ``value`` (which of them),
        ``n``, ``families``, ``exact_match`` with ``low`` and ``high``, ``lenient``, ``invalid_rate``, ``majority``
        (what always giving the most frequent right answer would score) and the mean of each measure. All but
        ``endpoint`` are about words of held-out families.
    """
    measures = list(marked.columns[marked.columns.get_loc("answer_class") + 1 :])  # type: ignore[operator]
    rows = [
        {"arm": arm, "seed": seed, "task": task, "group": group, "value": value, **_score(part, measures, confidence)}
        for (arm, seed, task), of_task in marked.groupby(["arm", "seed", "task"], sort=False)
        for group, value, part in _groups(of_task)
    ]
    return pd.DataFrame(rows)


def _groups(marked: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    words = marked[marked["endpoint"] == HELD_OUT]
    if len(words):
        yield "all", "all", words
    keys: dict[str, tuple[pd.DataFrame, Callable[[Any], str]]] = {
        "difficulty": (words, str),
        "n_tokens": (words, lambda n: str(n) if n < _MAX_TOKENS else f"{_MAX_TOKENS}+"),
        "template_held_out": (words, lambda held_out: "held-out wording" if held_out else "trained wording"),
        "argument": (words, str),
        "answer_class": (words, str),
        "endpoint": (marked, str),
    }
    for column, (rows, label) in keys.items():
        labels = rows[column].map(label)
        values = sorted(set(labels) - {""}, key=_natural)
        if len(values) > _MAX_CLASSES or (column in ("argument", "answer_class") and len(values) < 2):
            continue
        for value in values:
            yield ("asked" if column == "argument" else column), value, rows[labels == value]


def _natural(value: str) -> tuple[int, str]:
    order = {"easy": 0, "medium": 1, "hard": 2}
    digits = value.removesuffix("+")
    number = int(digits) if digits.removeprefix("-").isdigit() else order.get(value, 0)
    return number, value


def _score(part: pd.DataFrame, measures: list[str], confidence: float) -> dict[str, Any]:
    low, high = wilson_interval(int(part["exact"].sum()), len(part), confidence=confidence)
    return {
        "n": len(part),
        "families": part["stem"].nunique(),
        "exact_match": float(part["exact"].mean()),
        "low": low,
        "high": high,
        "lenient": float(part["lenient"].mean()),
        "invalid_rate": float(part["invalid"].mean()),
        "majority": float(part["answer"].value_counts(normalize=True).iloc[0]),
        **{name: float(part[name].mean()) for name in measures},
    }
