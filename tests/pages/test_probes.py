"""What is said and drawn of probes, in either direction, and what was not probed."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from spelling_transfer.evaluation.layer_probes import COLUMNS
from spelling_transfer.pages.page import render_page
from spelling_transfer.pages.probes import describe_probes, plot_probes, probe_sections

_READ = {"layer": 1, "accuracy": 0.81, "low": 0.7, "high": 0.9, "error": 0.1, "selectivity_low": 0.4}
_DIFFERENCE = {"answered": 0.6, "difference": 0.21, "difference_low": 0.1, "difference_high": 0.3}


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    common = {"arm": "base", "task": "count", "n": 60, "seed": -1, "trained_on": 500, "problem": "", "error": 0.9}
    shares = {"accuracy": 0.3, "low": 0.2, "high": 0.4, "shuffled": 0.25, "majority": 0.25}
    frame = pd.DataFrame([{**common, **shares, **row} for row in rows], columns=list(COLUMNS))
    return frame.astype(COLUMNS)


def test_the_sentence_is_of_the_layer_that_the_fit_chose() -> None:
    probes = table({"layer": 0}, {**_READ, **_DIFFERENCE}, {"layer": 2, "accuracy": 0.9, "error": 0.2})
    assert describe_probes(probes) == [
        "The count can be read at layer 1 of 2 of the base in 81.0% of 60 questions, and 60.0% are answered "
        "right: +21.0 points (+10.0 to +30.0)."
    ]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"difference_low": -0.1}, r"\+21.0 points \(−10.0 to \+30.0, no clear difference\)"),
        ({"selectivity_low": -0.1}, "does not read the right count clearly better than with shuffled"),
        ({"arm": "spelling", "task": "position"}, "The letter can be read at layer 1 of 1 of the spelling arm"),
    ],
)
def test_what_is_not_clear_is_not_claimed(changed: dict[str, Any], expected: str) -> None:
    (sentence,) = describe_probes(table({**_READ, **_DIFFERENCE, **changed}))
    assert pd.Series([sentence]).str.contains(expected).all()


def test_knowledge_stands_beside_answers_in_a_panel_of_each_arm_and_task() -> None:
    arms = [
        {**_READ, **_DIFFERENCE, "arm": arm, "task": task}
        for arm in ("base", "direct_count")
        for task in ("position", "count")
    ]
    figure = plot_probes(table(*arms, {"layer": -1, "arm": "spelling", "problem": "not in arms.trained"}))
    assert len(figure.data) == 3 * 4
    assert [note.text for note in figure.layout.annotations] == [
        f"{arm}<br>{task}" for task in ("position", "count") for arm in ("base", "direct arm<br>(count)")
    ]  # short lines: five panels stand beside each other
    read, answered = figure.data[0], figure.data[1]
    assert (list(read.y), list(answered.y)) == ([0.81], [0.6])
    assert read.error_y.array == pytest.approx([0.09])


def test_what_was_not_probed_is_named_and_has_no_panel() -> None:
    few = {"layer": -1, "problem": "4 word families to test on, 30 are needed"}
    missing = [
        {"layer": -1, "arm": "direct_count", "task": task, "problem": "a reason"} for task in ("position", "count")
    ]
    probes = table({**_READ, **_DIFFERENCE, "task": "position"}, few, {**few, "arm": "spelling"}, *missing)
    page = render_page("Evaluation", probe_sections(probes, plot_probes(probes), confidence=0.9))
    assert "Not probed: count of base and spelling arm (4 word families to test on, 30 are needed); direct" in page
    assert "direct arm (count) (a reason)." in page
    assert "with 90% Wilson intervals" in page
    unprobed = probes[probes["layer"] == -1]
    (section,) = probe_sections(unprobed, plot_probes(unprobed), confidence=0.9)
    assert section.figure is None
    assert plot_probes(unprobed).layout.annotations[0].text == "not probed"
    assert probe_sections(probes[:0], plot_probes(probes[:0]), confidence=0.9) == []
