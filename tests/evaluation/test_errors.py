"""Kinds of error by hand: each answer has one, found by its task's rule."""

from __future__ import annotations

import pandas as pd
import pytest

from spelling_transfer.evaluation.errors import (
    NO_ANSWER,
    describe_errors,
    error_examples,
    error_table,
    letter_confusions,
    side_by_side,
)
from spelling_transfer.evaluation.marking import mark_answers
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer

_RIGHT = {"spelling": lambda word, _: " ".join(word), "position": lambda word, at: word[int(at) - (int(at) > 0)]}


def answers(*rows: tuple[str, str, str, str], arm: str = "base") -> pd.DataFrame:
    """Marked answers: task, word, argument and output of each."""
    frame = pd.DataFrame(rows, columns=["task", "word", "argument", "output"])
    right = [
        str(word.count(at)) if task == "count" else _RIGHT[task](word, at)
        for task, word, at in zip(frame["task"], frame["word"], frame["argument"], strict=True)
    ]
    about = {"arm": arm, "seed": -1, "endpoint": "held_out", "separator": " ", "answer": right}
    example = frame["task"] + "/" + frame["word"] + "/" + frame["argument"]
    question = "about " + frame["word"]
    return mark_answers(frame.assign(**about, example_id=example, question=question), load_tasks())


@pytest.mark.parametrize(
    ("row", "kind", "at_border", "longer"),
    [
        (("spelling", "berry", "", "b e r r y"), "", None, 0),
        (("spelling", "berry", "", "b e r y"), "dropped double", None, -1),
        (("spelling", "berry", "", "b r r y"), "missing letters", None, -1),
        (("spelling", "berry", "", "b e e r r y"), "extra letters", None, 1),
        (("spelling", "berry", "", "b a r r y"), "wrong letters", None, 0),
        (("spelling", "berry", "", "I cannot say"), NO_ANSWER, None, None),
        (("position", "berry", "2", "r"), "off by one", None, None),
        (("position", "berry", "-1", "b"), "other letter of the word", None, None),
        (("position", "berry", "1", "q"), "letter not in the word", None, None),
        (("position", "berry", "1", "The letter is b."), "", None, None),
        (("count", "berry", "r", "1"), "dropped double", None, None),
        (("count", "berry", "r", "3"), "off by one", None, None),
        (("count", "berry", "e", "7"), "other number", None, None),
        (("count", "berry", "e", ""), NO_ANSWER, None, None),
    ],
)
def test_a_wrong_answer_has_one_kind(
    row: tuple[str, str, str, str], kind: str, at_border: bool | None, longer: float | None, tokenizer: ChatTokenizer
) -> None:
    (found,) = describe_errors(answers(row), tokenizer).to_dict(orient="records")
    assert found["kind"] == kind
    assert found["tokens"] == "berry"  # one token has no border inside
    assert found["at_border"] is at_border
    assert found["length_difference"] == longer or (longer is None and pd.isna(found["length_difference"]))


def test_borders_are_those_of_the_tokens_after_a_space(tokenizer: ChatTokenizer) -> None:
    word = "zucchini"
    parts = [tokenizer.decode([token]).strip() for token in tokenizer.encode_texts([f" {word}"])[0]]
    assert len(parts) > 1
    rows = [("position", word, str(place), "q") for place in range(1, len(word) + 1)]
    described = describe_errors(answers(*rows), tokenizer)
    assert set(described["tokens"]) == {"|".join(parts)}
    expected, end = set(), 0
    for part in parts[:-1]:
        end += len(part)
        expected |= {end, end + 1}  # the last letter of a token and the first of the next, counted from 1
    assert {place for place, beside in enumerate(described["at_border"], start=1) if beside} == expected
    counted = error_table(described).set_index("kind")
    assert counted.loc["at a token border", ["n", "share"]].tolist() == [len(expected), 1.0]
    assert counted.loc["inside a token", "n"] == len(word) - len(expected)
    late = [("spelling", word, "", " ".join([*word[:-1], "a"])), ("spelling", word, "", " ".join(["a", *word[1:]]))]
    assert describe_errors(answers(*late), tokenizer)["at_border"].tolist() == [len(word) in expected, 1 in expected]


def test_what_is_right_in_other_words_is_no_error_and_not_right(tokenizer: ChatTokenizer) -> None:
    described = describe_errors(
        answers(("position", "berry", "1", "The letter is b."), ("position", "berry", "2", "e")), tokenizer
    )
    assert described["kind"].tolist() == ["", ""]
    assert side_by_side(described)["right"].tolist() == ["", "base"]  # as the scores count it


def test_tables_count_confuse_and_show_them(tokenizer: ChatTokenizer) -> None:
    base = answers(
        ("spelling", "berry", "", "b a r r y"), ("spelling", "pear", "", "p a a r"), ("spelling", "fig", "", "f i g"),
        ("position", "berry", "2", "a"), ("count", "pear", "e", "2"),
    )  # fmt: skip
    tuned = base.assign(arm="spelling", seed=3, output=base["answer"])
    tuned = mark_answers(tuned[answers(("count", "fig", "i", "1")).columns.intersection(base.columns)], load_tasks())
    described = describe_errors(pd.concat([base, tuned], ignore_index=True), tokenizer)
    table = error_table(described)
    assert table[["arm", "task", "kind", "n"]].to_numpy().tolist() == [
        ["base", "spelling", "wrong letters", 2],
        ["base", "position", "letter not in the word", 1],
        ["base", "count", "off by one", 1],
    ]
    assert table["share"].tolist() == pytest.approx([2 / 3, 1, 1])
    confusions = letter_confusions(described)
    assert confusions.to_numpy().tolist() == [["base", "position", "e", "a", 1], ["base", "spelling", "e", "a", 2]]
    chosen = error_examples(described, per_kind=1)
    assert len(chosen) == 3
    assert error_examples(described.sample(frac=1, random_state=1), per_kind=1)["example_id"].tolist() == (
        chosen["example_id"].tolist()
    )
    beside = side_by_side(described)
    assert beside[["base", "spelling", "right"]].to_numpy().tolist()[:3] == [
        ["b a r r y", "b e r r y", "spelling"],
        ["p a a r", "p e a r", "spelling"],
        ["f i g", "f i g", "base, spelling"],
    ]  # fmt: skip
