"""Decodings by hand: draws count once a question, questions once a family."""

from __future__ import annotations

import pandas as pd
import pytest

from spelling_transfer.evaluation.decodings import changed_answers, compare_decodings, way_of
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.models.generate import Sampling
from spelling_transfer.statistics.intervals import wilson_interval


def test_draws_are_averaged_by_question_and_questions_by_family() -> None:
    greedy = {"fig": "a", "pear": "a", "plum": "b"}
    drawn = {"fig": "aab", "pear": "bbb", "plum": "bab"}
    rows = [("greedy", word, 0, output) for word, output in greedy.items()]
    rows += [
        ("policy_sampling", word, n, output) for word, outputs in drawn.items() for n, output in enumerate(outputs)
    ]
    marked = pd.DataFrame(rows, columns=["decoding", "example_id", "draw", "output"]).assign(
        arm="base", seed=-1, task="position", question="?", answer="a", seconds=0.5, candidates=9, head_mb=1.0,
        peak_mb=float("nan"), stem=lambda frame: frame["example_id"], exact=lambda frame: frame["output"] == "a",
    )  # fmt: skip
    table = compare_decodings(marked, confidence=0.95).set_index("decoding")
    row = table.loc["policy_sampling"]
    assert row[["n", "draws", "families"]].tolist() == [3, 3, 3]
    # By question 2/3, 0 and 1/3 are right, and greedily 1, 1 and 0.
    assert row["exact_match"] == pytest.approx(1 / 3)
    assert row["difference"] == pytest.approx(1 / 3 - 2 / 3)
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    # Of nine draws, one of fig, three of pear and one of plum are other letters than the greedy one.
    assert row[["changed", "gained", "lost"]].tolist() == pytest.approx([5 / 9, 1 / 9, 4 / 9])
    assert row["answers_per_second"] == pytest.approx(2)
    assert table.loc["greedy", ["changed", "difference"]].tolist() == [0, 0]
    assert table.loc["greedy", ["low", "high"]].tolist() == pytest.approx(wilson_interval(2, 3))  # as in the scores
    changed = changed_answers(marked)
    assert changed[["output_greedy", "output"]].to_numpy().tolist() == [
        ["a", "b"], ["a", "b"], ["a", "b"], ["a", "b"], ["b", "a"],
    ]  # fmt: skip


def test_what_is_drawn_with_is_the_policys_and_qwens_advice() -> None:
    policy = Sampling(temperature=0.5, top_p=0.9, top_k=7, min_p=0.1)
    drawn, advised = (way_of(name, 8, (), policy).sampling for name in ("policy_sampling", "advised_sampling"))
    assert drawn == policy
    assert advised.model_dump() == {**policy.model_dump(), "temperature": 0.7, "top_p": 0.8}
    with pytest.raises(EvaluationError, match=r"needs the sampling values of conf/base/policy.yml"):
        way_of("policy_sampling", 8, (), None)
    with pytest.raises(EvaluationError, match="english_subset needs the subset"):
        way_of("english_subset", 8, (), None)
    assert way_of("english_subset", 8, [3, 1], None).allowed_ids == (3, 1)
