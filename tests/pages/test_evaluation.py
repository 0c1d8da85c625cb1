"""Figures and page of an evaluation: they show the numbers that they were given, and every arm by its name."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from tests.samples.evaluations import errors_of, evaluation

from spelling_transfer.evaluation.errors import KINDS, NO_ANSWER, RIGHT, RIGHT_AND_MORE
from spelling_transfer.evaluation.plotted import ALL
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.pages import evaluation_figures as figures
from spelling_transfer.pages.evaluation import EvaluationResults, render_evaluation_page
from spelling_transfer.pages.findings import floor_note

SETTINGS = EvaluationSettings(n_resamples=999)


@pytest.fixture(scope="module")
def found() -> EvaluationResults:
    return evaluation(SETTINGS)


def test_bars_are_the_scores_and_whiskers_their_intervals(found: EvaluationResults) -> None:
    drawn = figures.plot_scores(found.scores)
    assert drawn.layout.legend.y is None  # above, as in the template: below stand the names of tasks, slanted if long
    bars = {trace.name: trace for trace in drawn.data}
    assert list(bars) == ["base", "spelling arm", "form control", "direct arm (position)", "the majority answer"]
    rows = found.scores[(found.scores["arm"] == "spelling") & (found.scores["group"] == "all")]
    assert list(bars["spelling arm"].y) == rows["exact_match"].tolist()
    upper = bars["spelling arm"].y + bars["spelling arm"].error_y.array
    assert list(upper.round(9)) == rows["high"].round(9).tolist()


def test_the_forest_has_each_difference_at_its_arm_and_marks_the_ceiling(found: EvaluationResults) -> None:
    figure = figures.plot_arms(found.effects)
    labels = dict(zip(figure.layout.yaxis.tickvals, figure.layout.yaxis.ticktext, strict=True))
    assert labels[0] == "<b>held-out families</b>"
    shown = {
        (labels[round(y)], trace.marker.symbol, annotation.text, round(x, 9))
        for trace in figure.data
        if trace.x[0] is not None
        for x, y in zip(trace.x, trace.y, strict=True)
        for annotation in figure.layout.annotations
        if annotation.text == trace.hovertemplate.split(",")[0]
    }
    symbols = {"base": "-open", "form_control": ""}
    names = {"spelling": "spelling arm", "form_control": "form control", "direct_position": "direct arm (position)"}
    whole = found.effects[found.effects["stratum"] == ALL]
    expected = {
        (
            names[row.arm],
            ("diamond" if row.arm == f"direct_{row.task}" else "circle") + symbols[row.reference],
            row.task,
            round(100 * row.difference, 9),
        )
        for row in whole.itertuples()
        if row.difference == row.difference
    }
    assert {each for each in shown if each[3] == each[3]} == expected
    assert "diamond" in {symbol for _, symbol, _, _ in expected}


def test_strata_stand_in_their_order(found: EvaluationResults) -> None:
    labels = list(figures.plot_strata(found.effects).layout.yaxis.ticktext)
    assert labels[:5] == ["<b>all questions</b>", "all", "<b>counted from</b>", "the front", "the end"]
    assert labels[-4:] == ["<b>frequency (Zipf)</b>", "below 3", "3 to 4", "4 and above"]


def test_the_dose_is_drawn_over_steps_and_over_spelling_gained() -> None:
    curve = pd.DataFrame(
        [
            {"arm": "spelling", "step": step, "task": task, "seeds": 1, "score": 0.3 + gain, "lowest": 0.3 + gain,
             "highest": 0.3 + gain, "gain": gain, "spelling_gain": step / 100}
            for step in (0, 10, 20)
            for task, gain in (("spelling", step / 100), ("position", step / 200), ("count", 0.0))
        ]
    )  # fmt: skip
    traces = figures.plot_dose(curve).data
    assert [list(trace.x) for trace in traces[:3]] == [[0, 10, 20]] * 3
    assert list(traces[0].y) == [30, 40, 50]
    assert (list(traces[3].x), list(traces[3].y)) == ([0, 10, 20], [0, 5, 10])


def test_every_bar_of_errors_is_full(found: EvaluationResults) -> None:
    errors = errors_of(found)
    shares: dict[tuple[str, str], float] = {}
    for trace in figures.plot_errors(errors).data:
        task = trace.hovertemplate.split(",")[0]
        for arm, share in zip(trace.y, trace.x, strict=True):
            shares[arm, task] = shares.get((arm, task), 0) + share
    assert len(shares) == 4 * 3
    assert list(shares.values()) == pytest.approx([1] * len(shares))


_TOGETHER = {
    "position": ("off by one", "other letter of the word", "letter not in the word"),
    "count": ("off by one", "dropped double", "other number"),
    "spelling": ("dropped double", "missing letters", "extra letters", "wrong letters"),
}


def test_kinds_of_error_of_one_task_can_be_told_apart() -> None:
    rows = [
        {"arm": "base", "task": task, "kind": kind, "n": 1, "share": 0.1}
        for task, kinds in _TOGETHER.items()
        for kind in (RIGHT, RIGHT_AND_MORE, *kinds, NO_ANSWER)
    ]
    assert {kind for kinds in _TOGETHER.values() for kind in kinds} | {NO_ANSWER} == set(KINDS)
    colours: dict[str, list[str]] = {}
    for trace in figures.plot_errors(pd.DataFrame(rows)).data:
        colours.setdefault(trace.hovertemplate.split(",")[0], []).append(trace.marker.color)
    assert sorted(colours) == sorted(_TOGETHER)
    for task, used in colours.items():
        assert len(set(used)) == len(used), task


def test_a_kind_without_a_difference_has_no_row(found: EvaluationResults) -> None:
    effects = found.effects.copy()
    effects.loc[(effects["stratum"] == "frequency") & (effects["value"] == "3 to 4"), "difference"] = float("nan")
    labels = list(figures.plot_strata(effects).layout.yaxis.ticktext)
    assert labels[-3:] == ["<b>frequency (Zipf)</b>", "below 3", "4 and above"]


def page_of(found: EvaluationResults) -> str:
    drawn = {
        "scores": figures.plot_scores(found.scores),
        "arms": figures.plot_arms(found.effects),
        "strata": figures.plot_strata(found.effects),
        "errors": figures.plot_errors(errors_of(found)),
    }
    return render_evaluation_page(found, drawn, SETTINGS)


def test_differences_are_in_points_as_the_captions_say(found: EvaluationResults) -> None:
    page = page_of(found)
    assert "in percentage points" in page
    assert re.findall(r">[+−]\d+\.\d</td>", page)
    assert re.findall(r">\+[\d.]+%</td>", page) == []  # a share has no sign, unless it is negative


def test_the_page_begins_with_the_answer_what_was_done_floors_and_cost(found: EvaluationResults) -> None:
    body = page_of(found).partition("<main")[2]
    text = " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<script.*?</script>", " ", body, flags=re.DOTALL)).split())
    text = text.replace("&#39;", "'")
    places = [
        text.index(part)
        for part in (
            "The result is inconclusive, because",
            "What was done: base, spelling arm, form control and direct arm (position) answered the same questions",
            "cannot do this task: below the majority answer",
            "evaluated",
            "kedro run --pipelines=evaluation",
            "Gates",
            "Arms side by side",
            "What the arms get wrong",
            "What was left out",
        )
    ]
    assert places == sorted(places)
    assert "direct arm (count) (direct_count) not in arms.trained" in text
    assert "spelling random letters 2" in text  # words are called what the figures call them
    # A kind without a question is called what the figures call it.
    assert "unseen tokens no question of position, counted from: the front; position, counted from: the end;" in text
    assert "in percentage points, with 95% intervals" in text
    assert "in percentage points, with unadjusted 95% intervals" in text
    assert "fine-tuned" not in text
    assert "control arm" not in text


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.2, "cannot do this task: below the majority answer (25.0%)"),
        (0.2, 0.28, "cannot do this task: not above a random letter of the word (30.0%)"),
        (0.26, 0.4, "cannot do this task: not above a random letter of the word (30.0%)"),
        (0.31, 0.4, "above every guess (at best 30.0%)"),
    ],
)
def test_a_score_is_held_against_what_guessing_gives(low: float, high: float, said: str) -> None:
    floors = pd.DataFrame({"task": ["position"] * 2, "answerer": ["commonest", "random_letter"], "score": [0.25, 0.3]})
    row = pd.Series({"task": "position", "arm_low": low, "arm_high": high})
    assert floor_note(row, floors) == said
    assert floor_note(row, None) == ""
