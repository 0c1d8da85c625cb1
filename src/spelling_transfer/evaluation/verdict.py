"""The answer to the question of the study, and when there is one.

First the gates: the arms exist; the treatment worked (the spelling arm spells better than control and base, by a
dose); there is a ceiling (direct training raises its task above control and base). If one fails, the result is
inconclusive, and only an upper bound is given. Then, for position and for count, the two declared tasks: the spelling
arm has to be above the base model *and* above the form control, each by an exact test and an interval, adjusted for two
tasks (Holm). A gain over the control alone may be the control's loss; a gain over the base alone may come from the form
of the answers. All other comparisons are exploratory and adjusted by Benjamini and Hochberg.

Transfer as a number is the smaller of the two differences (R. L. Berger, "Multiparameter hypothesis testing and
acceptance sampling", Technometrics 24, 1982): its bounds are the smaller of the two lower and upper ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.evaluation.arms import ARMS, CONTROL, DIRECT, SPELLING, STRATA, TaskAnswers, answers_by_task
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.evaluation.verdict_parts import (
    Answer,
    Comparison,
    Gate,
    Note,
    TaskVerdict,
    Verdict,
    comparison_document,
)
from spelling_transfer.statistics.contrast import FEWEST_SEEDS, family_values
from spelling_transfer.statistics.intervals import CONFIDENCE, Floats, Interval
from spelling_transfer.statistics.multiple import benjamini_hochberg, holm
from spelling_transfer.statistics.paired import PairedDifference, clear_direction, paired_difference
from spelling_transfer.statistics.ratio import Ratio, contrast_ratio
from spelling_transfer.tasks.arms import BASE
from spelling_transfer.tasks.registry import CORE_TASKS, TRAINED_TASK, UNTRAINED_TASKS

FEWEST_FAMILIES = 10
"""A stratum of fewer families than this is named and not looked at."""


def decide(
    table: pd.DataFrame,
    settings: VerdictSettings,
    *,
    confidence: float = CONFIDENCE,
    strata: Sequence[str] | None = None,
) -> Verdict:
    """Returns the answer that a table of answers allows.

    Args:
        table: One row a question, arm and seed: ``question``, ``family``, ``task``, ``arm``, ``seed``, ``correct``, and
            any columns of strata. Arms: ``base``, ``spelling``, ``control``, ``direct position``, ``direct count``.
            Those that were not trained are left out, and named in the answer.
        settings: What has to hold.
        confidence: Confidence level of intervals.
        strata: Columns to look at the answers by; those of ``STRATA`` that are there if not given.

    Raises:
        EvaluationError: The table contradicts itself (see ``answers_by_task``), or has no column of a stratum.
    """
    answers = answers_by_task(table)
    names = [name for name in STRATA if name in table.columns] if strata is None else list(strata)
    if missing := [name for name in names if name not in table.columns]:
        raise EvaluationError(
            f"answers: no column {', '.join(missing)} to group them by; there are {', '.join(table.columns)}."
        )
    found = judge(answers, settings, confidence=confidence)
    rows, notes = explore(table, answers, names, settings, confidence=confidence)
    return replace(found, secondary=rows, notes=(*found.notes, *notes))


def judge(answers: Mapping[str, TaskAnswers], settings: VerdictSettings, *, confidence: float = CONFIDENCE) -> Verdict:
    """Returns the answer that arrays of answers allow, without anything explored; arguments as in ``decide``."""
    arms = {arm: len(right) for of_task in answers.values() for arm, right in of_task.arms.items()}
    gates = [
        Gate("arms", "", not (gone := tuple(arm for arm in (BASE, SPELLING, CONTROL) if arm not in arms)), gone),
        _gate("treatment", TRAINED_TASK, SPELLING, settings.dose, answers, settings, confidence),
        *(
            _gate("ceiling", task, DIRECT[task], settings.ceiling, answers, settings, confidence)
            for task in UNTRAINED_TASKS
        ),
    ]
    compared = {task: _against_both(task, SPELLING, answers, settings, confidence) for task in UNTRAINED_TASKS}
    p_values = {task: _claim_p_value(of_task) for task, of_task in compared.items()}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    fallen = _fallen(compared, confidence)
    tasks = tuple(
        _task_verdict(
            task,
            compared[task],
            (p_values[task], float(adjusted[task])),
            task in fallen,
            tuple(gate.gate for gate in gates if not gate.passed and gate.task in ("", TRAINED_TASK, task)),
            _ratio({task: answers[task]}, settings, confidence) if task in answers else None,
            settings,
            confidence,
        )
        for task in UNTRAINED_TASKS
    )
    with_ceiling = {gate.task: answers[gate.task] for gate in gates if gate.gate == "ceiling" and gate.passed}
    said = [task.answer for task in tasks]
    return Verdict(
        answer="yes" if "yes" in said else "no" if set(said) == {"no"} else "inconclusive",
        gates=tuple(gates),
        tasks=tasks,
        headline=_ratio(with_ceiling, settings, confidence) if with_ceiling else None,
        secondary=pd.DataFrame(),
        notes=tuple(_notes(answers, arms, settings, confidence)),
        seeds=arms,
        settings=settings,
        confidence=confidence,
    )


def explore(
    table: pd.DataFrame,
    answers: Mapping[str, TaskAnswers],
    strata: Sequence[str],
    settings: VerdictSettings,
    *,
    confidence: float = CONFIDENCE,
) -> tuple[pd.DataFrame, list[Note]]:
    """Compares the spelling arm with base model and form control in everything that was not declared.

    Returns:
        One row a task, stratum and reference, with ``p_adjusted`` by Benjamini and Hochberg over all rows; and notes on
        strata without questions or with too few families.
    """
    rows: list[dict[str, Any]] = []
    notes: list[Note] = []
    for task, of_task in answers.items():
        parts: list[tuple[str, str, TaskAnswers]] = []
        if task not in CORE_TASKS:
            parts.append(("all", "all", of_task))
        questions = table[table["task"] == task].drop_duplicates("question").sort_values("question")
        for name in strata:
            column = questions[name]
            values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else sorted(column.unique())
            for value in values:
                chosen = (column == value).to_numpy()
                part = of_task.only(chosen)
                n = len(np.unique(part.families))
                if n < FEWEST_FAMILIES:
                    notes.append(Note("few" if n else "no questions", f"{task}, {name} {value}", n))
                elif not chosen.all():
                    parts.append((name, str(value), part))
        for name, value, part in parts:
            for each in _against_both(task, SPELLING, {task: part}, settings, confidence):
                rows.append({"stratum": name, "value": value, **comparison_document(each)})
    if not rows:
        return pd.DataFrame(), notes
    frame = pd.DataFrame(rows)
    frame["p_adjusted"] = benjamini_hochberg(frame["p_value"])
    frame["verdict"] = [
        clear_direction(Interval(row["low"], row["high"]), row["p_adjusted"], confidence=confidence)
        for row in frame.to_dict("records")
    ]
    return frame, notes


def compare(
    task: str,
    arm: str,
    reference: str,
    answers: Mapping[str, TaskAnswers],
    settings: VerdictSettings,
    confidence: float = CONFIDENCE,
) -> Comparison | None:
    """Returns one arm against another in a task; ``None`` where either is not there."""
    of_task = answers.get(task)
    if of_task is None or arm not in of_task.arms or reference not in of_task.arms:
        return None
    found = paired_difference(
        of_task.arms[reference],
        of_task.arms[arm],
        of_task.families,
        spreads=(_spread(reference, settings), _spread(arm, settings)),
        confidence=confidence,
        alpha=(1 - confidence) / len(UNTRAINED_TASKS),
    )
    return Comparison(task, arm, reference, found)


def _spread(arm: str, settings: VerdictSettings) -> float:
    return 0.0 if arm == BASE else settings.seed_spread


def _against_both(
    task: str, arm: str, answers: Mapping[str, TaskAnswers], settings: VerdictSettings, confidence: float
) -> tuple[Comparison, ...]:
    each = (compare(task, arm, reference, answers, settings, confidence) for reference in (BASE, CONTROL))
    return tuple(comparison for comparison in each if comparison is not None)


def _gate(
    gate: str,
    task: str,
    arm: str,
    needed: float,
    answers: Mapping[str, TaskAnswers],
    settings: VerdictSettings,
    confidence: float,
) -> Gate:
    there = answers[task].arms if task in answers else {}
    missing = tuple(name for name in (arm, BASE, CONTROL) if name not in there)
    compared = _against_both(task, arm, answers, settings, confidence)
    passed = not missing and all(comparison.above(needed, confidence=confidence) for comparison in compared)
    return Gate(gate, task, passed, missing, needed, compared)


def _claim_p_value(compared: Sequence[Comparison]) -> float:
    if len(compared) < 2 or any(comparison.found.difference <= 0 for comparison in compared):
        return 1.0
    return max(comparison.found.p_value for comparison in compared)


def _fallen(compared: Mapping[str, Sequence[Comparison]], confidence: float) -> set[str]:
    """Returns the tasks that are clearly below the base model, adjusted by Holm for all of them."""
    found = {task: each.found for task, of_task in compared.items() for each in of_task if each.reference == BASE}
    adjusted = holm([each.p_value for each in found.values()])
    return {
        task
        for (task, each), p_value in zip(found.items(), adjusted, strict=True)
        if _clear(each, float(p_value), confidence) == "down"
    }


def _task_verdict(
    task: str,
    compared: tuple[Comparison, ...],
    p_values: tuple[float, float],
    fell: bool,
    shut: tuple[str, ...],
    ratio: Ratio | None,
    settings: VerdictSettings,
    confidence: float,
) -> TaskVerdict:
    p_value, p_adjusted = p_values
    found = [comparison.found for comparison in compared]
    complete = len(found) == 2
    low = min(each.interval.low for each in found) if complete else math.nan
    high = min((each.interval.high for each in found), default=math.nan)
    answer: Answer = "inconclusive"
    if not shut and complete:
        if low > 0 and p_adjusted <= 1 - confidence:
            answer = "yes"
        elif high < settings.negligible:
            answer = "no"
    return TaskVerdict(
        task=task,
        answer=answer,
        shut=shut,
        comparisons=compared,
        transfer=min((each.difference for each in found), default=math.nan),
        low=low,
        high=high,
        p_value=p_value,
        p_adjusted=p_adjusted,
        fell=fell,
        detectable=max((each.detectable for each in found), default=math.nan),
        ratio=ratio,
    )


def _ratio(answers: Mapping[str, TaskAnswers], settings: VerdictSettings, confidence: float) -> Ratio | None:
    """(spelling - control) / (direct - control), the mean over tasks above and below the line."""
    if any(arm not in each.arms for task, each in answers.items() for arm in (SPELLING, CONTROL, DIRECT[task])):
        return None
    among = np.unique(np.concatenate([each.families for each in answers.values()]))

    def joined(arm: str) -> Floats:
        values = [family_values(each.arms[arm], each.families, among)[0] for each in answers.values()]
        return np.asarray(np.mean(values, axis=0))

    sizes = [family_values(each.families < 0, each.families, among)[1] for each in answers.values()]
    shares = np.asarray(np.mean(sizes, axis=0))
    # Each direct arm answers for its own task alone, so it has its part of the mean.
    direct = [
        family_values(each.arms[DIRECT[task]], each.families, among)[0] / len(answers) for task, each in answers.items()
    ]
    spread = settings.seed_spread
    return contrast_ratio(
        [joined(SPELLING), joined(CONTROL), *direct],
        [1.0, -1.0, *[0.0] * len(direct)],
        [0.0, -1.0, *[1.0] * len(direct)],
        shares,
        [spread, spread, *[spread / len(direct)] * len(direct)],
        confidence=confidence,
    )


def _clear(found: PairedDifference, p_value: float, confidence: float) -> str:
    return clear_direction(found.interval, p_value, confidence=confidence)


def _notes(
    answers: Mapping[str, TaskAnswers], arms: Mapping[str, int], settings: VerdictSettings, confidence: float
) -> Iterator[Note]:
    for task in (TRAINED_TASK, *UNTRAINED_TASKS):
        control = compare(task, CONTROL, BASE, answers, settings, confidence)
        if control is not None and _clear(control.found, control.found.p_value, confidence) == "down":
            yield Note("control fell", task, control.found.difference)
    for arm, seeds in arms.items():
        if arm in ARMS and arm != BASE and seeds < FEWEST_SEEDS:
            yield Note("assumed spread", arm, settings.seed_spread)
