"""Compares two arms on the same questions: the spelling arm with the base model, and with the form control.

The form control has the same steps on the same prompts as the spelling arm, with the answers that the base model itself
gives. It practises the form of question and answer and is told nothing of letters. Both start from the base model, so
the change of one less the change of the other is the paired difference between the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from spelling_transfer.evaluation.answering import CONTROL, FINE_TUNED
from spelling_transfer.evaluation.questions import MAIN_WORD_SET, EvaluationError
from spelling_transfer.statistics.intervals import NO_INTERVAL, Interval, wilson_interval
from spelling_transfer.statistics.multiple import benjamini_hochberg, holm
from spelling_transfer.statistics.paired import (
    clear_direction,
    difference_ratio,
    gap_closed,
    gap_closed_interval,
    paired_difference,
)
from spelling_transfer.statistics.resampling import STANDARD, Bootstrap
from spelling_transfer.statistics.scores import SCORED_TASKS, FocusWeights, compare_transfer_scores
from spelling_transfer.tasks.arms import BASE
from spelling_transfer.tasks.registry import CORE_TASKS, TRAINED_TASK, UNTRAINED_TASKS


def compare_all(
    marked: pd.DataFrame, focus: str, weights: FocusWeights, bootstrap: Bootstrap, *, seed_spread: float = 0.0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compares the spelling arm with the base model and with the form control, question by question.

    Args:
        marked: What ``mark_answers`` returns.
        focus: Name of the transfer score's weights.
        weights: These weights.
        bootstrap: How families are resampled.
        seed_spread: Assumed standard deviation of a training seed's effect; see ``VerdictSettings``.

    Returns:
        The comparison with the base model, and the one with the form control, whose ``difference`` is adjusted for what
        the form of the answers explains; it has no rows where there is no form control. Both are frames of
        ``compare_arms`` with a row of the measure ``transfer_score``; the second has one of ``transfer_ratio`` for each
        task that has one.
    """
    pairs = pair_arms(marked, BASE, FINE_TUNED)
    comparison = [
        *compare_arms(pairs, BASE, FINE_TUNED, bootstrap, seed_spread=seed_spread),
        *_score(pairs, BASE, focus, weights, bootstrap),
    ]
    against_control = []
    asked = marked.loc[marked["arm"] == CONTROL, "example_id"]
    if len(asked):
        pairs = pair_arms(marked[marked["example_id"].isin(set(asked))], CONTROL, FINE_TUNED)
        against_control = [
            *compare_arms(pairs, CONTROL, FINE_TUNED, bootstrap, seed_spread=seed_spread),
            *transfer_ratios(pairs, CONTROL, FINE_TUNED, bootstrap),
            *_score(pairs, CONTROL, focus, weights, bootstrap),
        ]
    frame = pd.DataFrame(comparison)
    return frame, pd.DataFrame(against_control) if against_control else frame.iloc[:0]


def pair_arms(marked: pd.DataFrame, reference: str, arm: str) -> pd.DataFrame:
    """Returns one row an example that both arms answered, with the columns ``reference`` and ``arm``: right or not.

    Raises:
        EvaluationError: The two arms did not answer the same examples.
    """
    first, second = (marked[marked["arm"] == name].set_index("example_id") for name in (reference, arm))
    if first.empty or set(first.index) != set(second.index):
        raise EvaluationError(
            f"answers: the arms {reference!r} ({len(first)} answers) and {arm!r} ({len(second)}) did not answer the "
            "same examples; answer again with 'kedro run --pipelines=evaluation'."
        )
    keys = ["task", "stem", "word_set", "template_held_out"]
    return first[keys].assign(reference=first["exact"], arm=second["exact"].reindex(first.index)).reset_index()


def compare_arms(
    pairs: pd.DataFrame, reference: str, arm: str, bootstrap: Bootstrap = STANDARD, *, seed_spread: float = 0.0
) -> list[dict[str, Any]]:
    """Compares two arms task by task, and within each by wording and word set.

    A difference is called ``up`` or ``down`` where its interval excludes zero and its adjusted p-value is small enough:
    adjusted by Holm for the tasks of the research question, by Benjamini and Hochberg for all else. Spelling as a whole
    is the treatment and has a test of its own, as its gate has.

    Args:
        pairs: What ``pair_arms`` returns.
        reference: Name of the arm compared against.
        arm: Name of the other.
        bootstrap: How families are resampled, for the gap closed; its confidence is that of all intervals.
        seed_spread: Assumed standard deviation of a training seed's effect.

    Returns:
        One row a task and group (``all``, ``template_held_out``, ``word_set``): both scores with their Wilson
        intervals, the paired difference with its interval, p-value and adjusted p-value, the gap closed (with its
        interval for whole tasks), and the verdict.
    """
    rows = []
    spreads = (0.0 if reference == BASE else seed_spread, seed_spread)
    for task, of_task in pairs.groupby("task", sort=False):
        for group, value, part in _groups(of_task):
            answers = (part["reference"], part["arm"], part["stem"])
            paired = paired_difference(*answers, spreads=spreads, confidence=bootstrap.confidence)
            gap = gap_closed_interval(*answers, bootstrap) if group == "all" else NO_INTERVAL
            shares = {
                name: wilson_interval(int(part[name].sum()), paired.n, confidence=bootstrap.confidence)
                for name in ("reference", "arm")
            }
            row = _row(
                measure="exact_match",
                task=str(task),
                group=group,
                value=value,
                reference=reference,
                arm=arm,
                n=paired.n,
                families=paired.families,
                reference_score=paired.reference,
                reference_interval=shares["reference"],
                arm_score=paired.arm,
                arm_interval=shares["arm"],
                difference=paired.difference,
                interval=paired.interval,
                only_reference=paired.only_reference,
                only_arm=paired.only_arm,
                p_value=paired.p_value,
                gap_closed=gap_closed(paired.reference, paired.arm),
                gap_low=gap.low,
                gap_high=gap.high,
            )
            rows.append(row)
    _adjust(rows, bootstrap.confidence)
    return rows


def _adjust(rows: list[dict[str, Any]], confidence: float) -> None:
    whole = [row["task"] if row["group"] == "all" else "" for row in rows]
    treatment, declared = [TRAINED_TASK], list(UNTRAINED_TASKS)
    others = sorted({*whole} - {*treatment, *declared})
    for adjust, tasks in ((holm, treatment), (holm, declared), (benjamini_hochberg, others)):
        part = [row for row, task in zip(rows, whole, strict=True) if task in tasks]
        for row, p_value in zip(part, adjust([row["p_value"] for row in part]), strict=True):
            row["p_adjusted"] = float(p_value)
            row["verdict"] = clear_direction(Interval(row["low"], row["high"]), p_value, confidence=confidence)


def transfer_ratios(
    pairs: pd.DataFrame, reference: str, arm: str, bootstrap: Bootstrap = STANDARD
) -> Iterator[dict[str, Any]]:
    """Relates each untrained task's difference to that in spelling, on real words.

    Yields:
        One row a task; its ratio stands under ``difference``. There is none where the interval of the spelling
        difference is not above zero, or where a resample leaves no difference in spelling to divide by.
    """
    pairs = pairs[pairs["word_set"] == MAIN_WORD_SET]
    spelling = pairs[pairs["task"] == TRAINED_TASK]
    answers = (spelling["reference"], spelling["arm"], spelling["stem"])
    if spelling.empty or not paired_difference(*answers, confidence=bootstrap.confidence).interval.low > 0:
        return
    for task in UNTRAINED_TASKS:
        rows = pairs[pairs["task"] == task]
        if rows.empty:
            continue
        both = pd.concat([spelling, rows])
        change = both["arm"].astype(float) - both["reference"].astype(float)
        ratio, interval = difference_ratio(change, both["stem"], both["task"] == task, bootstrap)
        if math.isnan(interval.low):
            continue
        yield _row(
            measure="transfer_ratio",
            task=task,
            group="all",
            value="all",
            reference=reference,
            arm=arm,
            n=len(rows),
            families=rows["stem"].nunique(),
            difference=ratio,
            reference_interval=NO_INTERVAL,
            arm_interval=NO_INTERVAL,
            interval=interval,
        )


def main_rows(comparison: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows that claims are about: whole tasks on real words of held-out families."""
    return comparison[(comparison["measure"] == "exact_match") & (comparison["group"] == "all")]


def core_rows(comparison: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the tasks of the research question, in their order."""
    rows = main_rows(comparison)
    order = {task: place for place, task in enumerate(CORE_TASKS)}
    return rows[rows["task"].isin(order)].sort_values("task", key=lambda tasks: tasks.map(order), kind="stable")


def transfer_row(comparison: pd.DataFrame) -> pd.Series[Any] | None:
    """Returns the row of the transfer score; None where a task of it was not asked."""
    rows = comparison[comparison["measure"] == "transfer_score"]
    return None if rows.empty else rows.iloc[0]


def _score(
    pairs: pd.DataFrame, reference: str, focus: str, weights: FocusWeights, bootstrap: Bootstrap
) -> Iterator[dict[str, Any]]:
    rows = pairs[(pairs["word_set"] == MAIN_WORD_SET) & pairs["task"].isin(SCORED_TASKS)]
    if rows["task"].nunique() < len(SCORED_TASKS):
        return
    scores = compare_transfer_scores(rows["reference"], rows["arm"], rows["task"], rows["stem"], weights, bootstrap)
    yield _row(
        measure="transfer_score",
        task="all",
        group="focus",
        value=focus,
        reference=reference,
        arm=FINE_TUNED,
        n=len(rows),
        families=scores.families,
        reference_score=scores.reference,
        reference_interval=scores.reference_interval,
        arm_score=scores.arm,
        arm_interval=scores.arm_interval,
        difference=scores.difference,
        interval=scores.interval,
    )


def _row(*, reference_interval: Interval, arm_interval: Interval, interval: Interval, **values: Any) -> dict[str, Any]:
    return {
        **values,
        "reference_low": reference_interval.low,
        "reference_high": reference_interval.high,
        "arm_low": arm_interval.low,
        "arm_high": arm_interval.high,
        "low": interval.low,
        "high": interval.high,
        "verdict": interval.verdict,
    }


def _groups(pairs: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    words = pairs[pairs["word_set"] == MAIN_WORD_SET]
    if len(words):
        yield "all", "all", words
    for held_out, part in words.groupby("template_held_out"):
        yield "template_held_out", "held-out wording" if held_out else "trained wording", part
    for word_set, part in pairs[pairs["word_set"] != MAIN_WORD_SET].groupby("word_set"):
        yield "word_set", str(word_set), part
