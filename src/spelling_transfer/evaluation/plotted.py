"""What the figures of the evaluation show, as tables: arms side by side, doses, floors, and kinds of error.

Nothing here decides: the answer to the question of the study is that of `verdict`. Every comparison pairs questions
that both arms answered, within one endpoint; endpoints and strata are never pooled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.evaluation.strata import ENDPOINTS, HELD_OUT, NO_SEED, STRATA, VALUES
from spelling_transfer.evaluation.verdict import FEWEST_FAMILIES
from spelling_transfer.statistics.intervals import Interval
from spelling_transfer.statistics.multiple import benjamini_hochberg, holm
from spelling_transfer.statistics.paired import clear_direction, paired_difference
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.tasks.arms import BASE, FORM_CONTROL, SPELLING_ARM
from spelling_transfer.tasks.balance import SMALLEST_CHECKED_SET
from spelling_transfer.tasks.registry import CORE_TASKS, TRAINED_TASK

ALL = "all"
"""The stratum, and its value, of all questions of an endpoint."""
_QUESTIONS_EACH = 10
"""Questions to each letter or place, without which its most frequent answer is right by chance."""
FLOORS = {
    "commonest": "the majority answer",
    "random_letter": "a random letter of the word",
    "first_token_letter": "the first letter of its first token",
    "answer_by_argument": "the majority answer for the letter or place",
}
"""Answerers that do not know how a word is spelled, and what they say."""
_MEASURED = ("reference_score", "arm_score", "difference", "low", "high", "p_value")


def arm_effects(table: pd.DataFrame, settings: EvaluationSettings) -> pd.DataFrame:
    """Returns how each arm differs from the base and from the form control, by endpoint and, if held out, by stratum.

    Args:
        table: What ``tabulate`` returns.
        settings: Confidence of the intervals, and the spread of seeds that is assumed below three of them.

    Returns:
        One row an ``endpoint``, ``stratum``, ``value``, ``task``, ``arm`` and ``reference``: ``seeds`` of the arm,
        ``n`` questions, ``families``, both scores, ``difference`` with ``low`` and ``high``, ``p_value``. The values of
        fewer than ten families are missing. A value that all questions have has no row. ``p_adjusted`` is Benjamini
        and Hochberg's over all rows but those of the verdict: there it is Holm's over both tasks, by reference, and of
        spelling the p-value itself, as its gate has it;
        ``clear`` is ``up``, ``down`` or ``unclear`` by both interval and test.
    """
    rows = [
        {"endpoint": endpoint, "stratum": stratum, "value": value, "task": task, **row}
        for endpoint, task, stratum, value, part in _parts(table)
        for row in _against_references(part, settings)
    ]
    frame = pd.DataFrame(rows)
    declared = (
        (frame["endpoint"] == HELD_OUT)
        & (frame["stratum"] == ALL)
        & (frame["arm"] == SPELLING_ARM)
        & frame["task"].isin(CORE_TASKS)
    )
    explored = ~declared & frame["p_value"].notna()
    frame["p_adjusted"] = np.nan
    frame.loc[explored, "p_adjusted"] = benjamini_hochberg(frame.loc[explored, "p_value"])
    for _, family in frame[declared & frame["p_value"].notna()].groupby(["reference", frame["task"] == TRAINED_TASK]):
        frame.loc[family.index, "p_adjusted"] = holm(family["p_value"])
    judged = frame["p_adjusted"].fillna(frame["p_value"])
    frame["clear"] = [
        "" if pd.isna(p_value) else clear_direction(Interval(low, high), p_value, confidence=settings.confidence)
        for low, high, p_value in zip(frame["low"], frame["high"], judged, strict=True)
    ]
    return frame


def _parts(table: pd.DataFrame) -> Iterator[tuple[str, str, str, str, pd.DataFrame]]:
    for endpoint in ENDPOINTS:
        for task in CORE_TASKS:
            rows = table[(table["endpoint"] == endpoint) & (table["task"] == task)]
            if rows.empty:
                continue
            yield endpoint, task, ALL, ALL, rows
            for stratum in STRATA if endpoint == HELD_OUT else ():
                for value in sorted(set(rows[stratum]) - {""}, key=VALUES.index):
                    part = rows[rows[stratum] == value]
                    # A kind that all questions are of is no kind: one comparison would have two adjusted p-values.
                    if len(part) < len(rows):
                        yield endpoint, task, stratum, value, part


def _against_references(part: pd.DataFrame, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    families = part.drop_duplicates("example_id").set_index("example_id")["family"]
    right = {
        str(arm): rows.pivot(index="seed", columns="example_id", values="correct")
        for arm, rows in part.groupby("arm", sort=False)
    }
    for reference in (BASE, FORM_CONTROL):
        for arm, answers in right.items():
            if reference not in right or arm in (BASE, reference):
                continue
            asked = right[reference].columns.intersection(answers.columns)
            of_asked = families[asked]
            row: dict[str, Any] = {
                "arm": arm,
                "reference": reference,
                "seeds": len(answers),
                "n": len(asked),
                "families": of_asked.nunique(),
            }
            if row["families"] < FEWEST_FAMILIES:
                yield {**row, **dict.fromkeys(_MEASURED, np.nan)}
                continue
            # The base, also where it is prompted otherwise, was not trained: with another seed it would be the same.
            first, second = (
                0.0 if (right[each].index == NO_SEED).all() else settings.verdict.seed_spread
                for each in (reference, arm)
            )
            found = paired_difference(
                right[reference][asked].to_numpy(dtype=bool),
                answers[asked].to_numpy(dtype=bool),
                of_asked,
                spreads=(first, second),
                confidence=settings.confidence,
            )
            measured = (found.reference, found.arm, found.difference, *found.interval, found.p_value)
            yield {**row, **dict(zip(_MEASURED, measured, strict=True))}


def floors(marked: pd.DataFrame, baselines: pd.DataFrame) -> pd.DataFrame:
    """Returns what answerers that do not know a word's spelling score on words of held-out families.

    Args:
        marked: What ``mark_answers`` returns.
        baselines: What ``compute_baselines`` returns; those of words of the split ``test`` are taken.

    Returns:
        One row a ``task`` and ``answerer`` (see :data:`FLOORS`), with its ``score``; the highest of a task is the floor
        that a model has to be above before it can be said to do the task.
    """
    asked = marked[marked["endpoint"] == HELD_OUT].drop_duplicates("example_id")
    rows = []
    for task, of_task in asked.groupby("task", sort=False):
        scores = {"commonest": float(of_task["answer"].value_counts(normalize=True).iloc[0])}
        if task == "position":
            pairs = zip(of_task["word"], of_task["answer"], strict=True)
            scores["random_letter"] = float(np.mean([word.count(answer) / len(word) for word, answer in pairs]))
        of_test = (baselines["split"] == "test") & (baselines["word_set"] == "word") & (baselines["task"] == task)
        # Among few questions the most frequent answer to each letter or place is right by chance.
        n_arguments = of_task["argument"].nunique()  # with one alone this answerer is the majority answer
        several = n_arguments > 1 and len(of_task) >= _QUESTIONS_EACH * n_arguments
        enough = (baselines["baseline"] != "answer_by_argument") | (
            several & (baselines["questions"] >= SMALLEST_CHECKED_SET)
        )
        known = baselines[of_test & enough].set_index("baseline")["accuracy"]
        scores |= {name: float(known[name]) for name in FLOORS if name in known.index}
        rows += [{"task": task, "answerer": name, "score": score} for name, score in scores.items()]
    return pd.DataFrame(rows, columns=["task", "answerer", "score"])


def dose_curve(arm_curves: pd.DataFrame, base: dict[str, Any]) -> pd.DataFrame:
    """Returns each arm's scores on validation words over its training, from the base on.

    Args:
        arm_curves: One row an arm, seed and step, with the exact match of each task.
        base: Exact match of the base by task.

    Returns:
        One row an ``arm``, ``step`` and ``task``: ``seeds``, the mean ``score`` over them with the ``lowest`` and the
        ``highest``, the ``gain`` over the base, and ``spelling_gain`` at that step.
    """
    rows: list[dict[str, Any]] = []
    for arm, of_arm in arm_curves.groupby("arm", sort=False):
        start = pd.DataFrame([{"step": 0, **{task: float(base[task]) for task in SCORED_TASKS}}])
        for step, seeds in [(0, start), *of_arm.groupby("step")]:
            means = seeds[[*SCORED_TASKS]].mean()
            rows += [
                {
                    "arm": arm,
                    "step": step,
                    "task": task,
                    "seeds": len(seeds),
                    "score": means[task],
                    "lowest": seeds[task].min(),
                    "highest": seeds[task].max(),
                    "gain": means[task] - base[task],
                    "spelling_gain": means["spelling"] - base["spelling"],
                }
                for task in SCORED_TASKS
            ]
    return pd.DataFrame(rows)
