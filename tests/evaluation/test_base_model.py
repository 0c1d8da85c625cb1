"""A base model that no study can be made with is named, by task and by what it fails in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.samples.verdicts import arm_answers, gains

from spelling_transfer.evaluation.base_model import base_model_notes
from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.evaluation.verdict import decide
from spelling_transfer.evaluation.verdict_parts import Note
from spelling_transfer.pages.verdict import describe_verdict

SETTINGS = VerdictSettings()
FLOORS = pd.DataFrame(
    [
        ("spelling", "commonest", 0.01),
        ("position", "commonest", 0.1),
        ("position", "random_letter", 0.2),
        ("count", "commonest", 0.4),
    ],
    columns=["task", "answerer", "score"],
)


def marked(
    right: dict[str, float], invalid: float = 0.0, *, arm: str = "base", endpoint: str = "held_out"
) -> pd.DataFrame:
    """Returns 200 marked answers a task, of which these shares are right and invalid."""
    shares = np.arange(200) / 200
    return pd.concat(
        pd.DataFrame(
            {"arm": arm, "endpoint": endpoint, "task": task, "exact": shares < share, "invalid": shares >= 1 - invalid}
        )
        for task, share in right.items()
    )


FIT = {"spelling": 0.4, "position": 0.9, "count": 0.6}


def notes(frame: pd.DataFrame) -> list[Note]:
    return list(base_model_notes(frame, FLOORS, SETTINGS))


def test_a_base_that_knows_more_than_it_says_has_no_fault() -> None:
    assert notes(marked(FIT)) == []


@pytest.mark.parametrize(
    ("right", "invalid", "kind", "task", "value"),
    [
        ({**FIT, "position": 0.25}, 0.0, "base guesses", "position", 0.05),  # the best of its guesses, not the first
        ({**FIT, "count": 0.35}, 0.0, "base guesses", "count", -0.05),
        ({"count": 0.6}, 0.06, "base invalid", "count", 0.06),
        ({**FIT, "spelling": 0.99}, 0.0, "base full", "spelling", 0.99),  # the dose has no room
        ({**FIT, "position": 0.97}, 0.0, "base full", "position", 0.97),
    ],
)
def test_each_fault_is_named(right: dict[str, float], invalid: float, kind: str, task: str, value: float) -> None:
    (note,) = notes(marked(right, invalid))
    assert (note.kind, note.subject) == (kind, task)
    assert note.value == pytest.approx(value)


def test_few_questions_accuse_nobody() -> None:
    several = marked({"spelling": 0.99, "position": 0.25, "count": 0.35})
    assert {note.kind for note in notes(several)} == {"base guesses", "base full"}
    few = several.iloc[::20]
    assert notes(few) == []
    assert list(base_model_notes(few, FLOORS, SETTINGS, confidence=0.5)) != []


def test_other_arms_and_other_words_do_not_count() -> None:
    unfit = {"position": 0.0}
    others = marked(unfit, arm="spelling"), marked(unfit, endpoint="made_up")
    assert notes(pd.concat([marked(FIT), *others * 5])) == []
    for other in others:  # so many of them that they would show
        assert notes(pd.concat([marked(FIT), *[other.assign(arm="base", endpoint="held_out")] * 5]))


def test_the_page_says_it_and_gives_it_as_the_reason_where_a_gate_is_shut() -> None:
    found = notes(marked({"spelling": 0.99, "position": 0.25, "count": 0.6}, 0.06))
    shut = decide(arm_answers(gains(direct=0.0)), SETTINGS)
    first, unfit, *_ = describe_verdict(replace(shut, notes=(*found, *shut.notes)).document())
    assert "because the base model is not suitable for this study; direct training did not raise" in first
    assert unfit == (
        "The base model is not suitable for this study: 6.0% of its answers to spelling are invalid, and at most 2% "
        "may be; it answers 99.0% of spelling correctly, and above 95% there is no room to improve; "
        "in position it is +5.0 points from the best guess, and +15.0 are required; "
        "6.0% of its answers to position are invalid, and at most 2% may be; "
        "6.0% of its answers to count are invalid, and at most 2% may be."
    )
    yes = decide(arm_answers(gains(transfer=0.12)), SETTINGS)
    first, unfit, *_ = describe_verdict(replace(yes, notes=(*found, *yes.notes)).document())
    assert first.startswith("Yes")
    assert unfit.startswith("The base model is not suitable for this study: ")
