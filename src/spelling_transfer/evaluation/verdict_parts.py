"""What a verdict consists of, and how it is written down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.statistics.intervals import CONFIDENCE
from spelling_transfer.statistics.paired import PairedDifference, clear_direction
from spelling_transfer.statistics.ratio import Ratio

FORMAT = 1
"""Format of ``verdict.json``."""
Answer = Literal["yes", "no", "inconclusive"]


@dataclass(frozen=True)
class Comparison:
    """One arm against another in one task, on the same questions."""

    task: str
    arm: str
    reference: str
    found: PairedDifference

    def above(self, least: float, *, confidence: float = CONFIDENCE) -> bool:
        """Returns whether the whole interval lies above a difference, and the test rejects "no difference".

        Args:
            least: The difference.
            confidence: Confidence of the interval, and 1 less the level of the test.
        """
        direction = clear_direction(self.found.interval, self.found.p_value, confidence=confidence)
        return direction == "up" and self.found.interval.low > least


@dataclass(frozen=True)
class Gate:
    """What has to hold before a question is answered.

    Attributes:
        gate: ``arms``, ``treatment`` or ``ceiling``.
        passed: Whether it holds.
        missing: Arms that are not there.
        needed: The difference that the intervals have to lie above.
        comparisons: The comparisons that decide it.
    """

    gate: str
    task: str
    passed: bool
    missing: tuple[str, ...] = ()
    needed: float = 0.0
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class TaskVerdict:
    """What is said of one of the declared tasks.

    Attributes:
        answer: Whether spelling carried over to it.
        shut: Gates that keep it from being answered.
        comparisons: The spelling arm against base model and form control, as far as they are there.
        transfer: The smaller of the two differences; NaN without either.
        low: Lower bound of it; NaN unless both are there.
        high: Upper bound of it; what can be said even where a gate is shut.
        p_value: The larger p-value of both tests; 1 unless both point upwards.
        p_adjusted: The same, adjusted by Holm for both tasks.
        fell: Whether it is clearly below the base model, by a test that is adjusted by Holm for both tasks.
        detectable: The smallest difference that each comparison by itself would find four times out of five; that both
            find it is less likely.
        ratio: (spelling - control) / (direct - control); none where its denominator's interval is not above zero.
    """

    task: str
    answer: Answer
    shut: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    transfer: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    fell: bool
    detectable: float
    ratio: Ratio | None


@dataclass(frozen=True)
class Note:
    """Something a reader has to know of an answer.

    ``control fell``, ``assumed spread``, ``no questions``, ``few``, and what ``base_model_notes`` yields.
    """

    kind: str
    subject: str
    value: float


@dataclass(frozen=True)
class Verdict:
    """The answer to the question of the study.

    Attributes:
        answer: ``yes`` where spelling carried over to a task, ``no`` where it surely carried over to none by more than
            is negligible, and ``inconclusive`` otherwise.
        headline: (spelling - control) / (direct - control), over all tasks with a ceiling together.
        secondary: Other tasks and strata, one row a comparison, adjusted by Benjamini and Hochberg.
        seeds: Training seeds of each arm.
        confidence: Confidence level of intervals; 1 less the level of tests.
    """

    answer: Answer
    gates: tuple[Gate, ...]
    tasks: tuple[TaskVerdict, ...]
    headline: Ratio | None
    secondary: pd.DataFrame
    notes: tuple[Note, ...]
    seeds: Mapping[str, int]
    settings: VerdictSettings
    confidence: float

    def document(self) -> dict[str, Any]:
        """Returns everything as plain values, for ``verdict.json``; what is not a number is ``None``."""
        return {
            "format": FORMAT,
            "answer": self.answer,
            "gates": [_gate_document(gate) for gate in self.gates],
            "tasks": [_task_document(task) for task in self.tasks],
            "headline": _ratio_document(self.headline),
            "secondary": [plain_row(row) for row in self.secondary.to_dict("records")],
            "notes": [plain_row(asdict(note)) for note in self.notes],
            "seeds": dict(self.seeds),
            "settings": self.settings.model_dump(),
            "confidence": self.confidence,
        }


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Returns a comparison as one flat row of numbers."""
    values = comparison.found._asdict()
    low, high = values.pop("interval")
    head = {"task": comparison.task, "arm": comparison.arm, "reference": comparison.reference}
    values["reference_score"], values["arm_score"] = values.pop("reference"), values.pop("arm")
    return {**head, **values, "low": low, "high": high}


def _gate_document(gate: Gate) -> dict[str, Any]:
    compared = [plain_row(comparison_document(each)) for each in gate.comparisons]
    return {**vars(gate), "missing": list(gate.missing), "comparisons": compared}


def _task_document(task: TaskVerdict) -> dict[str, Any]:
    numbers = ("transfer", "low", "high", "p_value", "p_adjusted", "detectable")
    return {
        "task": task.task,
        "answer": task.answer,
        "shut": list(task.shut),
        **plain_row({name: getattr(task, name) for name in numbers}),
        "fell": task.fell,
        "comparisons": [plain_row(comparison_document(each)) for each in task.comparisons],
        "ratio": _ratio_document(task.ratio),
    }


def _ratio_document(ratio: Ratio | None) -> dict[str, float] | None:
    if ratio is None:
        return None
    *numbers, interval = ratio
    return dict(zip(("numerator", "denominator", "ratio", "low", "high"), (*numbers, *interval), strict=True))


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns a row for JSON: what is not a finite number is ``None``."""
    return {
        str(name): None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
