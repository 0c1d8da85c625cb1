"""The table that comparisons read: what kind each question is, and rows that are refused instead of averaged over."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pandera.errors
import pytest

from spelling_transfer.evaluation.marking import mark_answers
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.evaluation.schemas import ARM_ANSWERS
from spelling_transfer.evaluation.strata import (
    COLUMNS,
    check_table,
    describe_questions,
    empty_strata,
    endpoint_of,
    tabulate,
)
from spelling_transfer.tasks.registry import load_tasks


def question(task: str, word: str, argument: str = "", text: str = "", word_set: str = "word") -> dict[str, str]:
    asked = text or f"About {word}"
    return {"example_id": f"{task}/{word}/{argument}/{asked}", "task": task, "word": word, "argument": argument,
            "question": asked, "word_set": word_set}  # fmt: skip


QUESTIONS = pd.DataFrame(
    [
        question("position", "strawberry", "2"),
        question("position", "strawberry", "-1"),
        question("position", "strawberry", "2", "strawberry: which letter is second?"),
        question("count", "strawberry", "r"),
        question("count", "strawberry", "z"),
        question("spelling", "strawberry"),
        question("spelling", "qxzv", word_set="random"),
    ]
)
ZIPF = pd.DataFrame({"word": ["strawberry"], "zipf_frequency": [3.6]})


def test_questions_are_told_apart_by_what_they_ask(tokenizer) -> None:
    found = describe_questions(QUESTIONS, ZIPF, tokenizer)
    assert found["direction"].tolist() == ["forward", "backward", "forward", "", "", "", ""]
    assert found["true_count"].tolist() == ["", "", "", "3+", "0", "", ""]
    assert found["repeated_letter"].tolist() == ["yes"] * 6 + ["no"]
    assert found["frequency"].tolist() == ["3 to 4"] * 6 + ["no word"]


def test_the_length_of_the_token_that_holds_the_letter_follows_the_form_of_the_question(tokenizer) -> None:
    spaced, bare = (
        [len(tokenizer.decode([t]).strip()) for t in ids]
        for ids in tokenizer.encode_texts([" strawberry", "strawberry"])
    )
    assert spaced == [10]
    assert len(bare) > 1
    found = describe_questions(QUESTIONS, ZIPF, tokenizer)["token_letters"].tolist()
    assert found[0] == found[1] == found[5] == "6+"  # one token of ten letters after a space
    assert found[2] == str(bare[0])  # at the start of a question the second letter is in the first of several
    assert found[4] == "none"


def test_endpoints_are_never_mixed() -> None:
    frame = pd.DataFrame(
        {"kind": ["real", "real", "real", "asked"], "word_set": ["word", "token_held_out", "random", "word"]}
    )
    assert endpoint_of(frame).tolist() == ["held_out", "unseen_tokens", "made_up", "spelled"]


@pytest.fixture
def table(answers: pd.DataFrame, tokenizer) -> pd.DataFrame:
    words = answers.drop_duplicates("word")[["word"]].assign(zipf_frequency=4.5)
    second = answers[answers["arm"] == "spelling"].assign(seed=1)
    marked = mark_answers(pd.concat([answers, second], ignore_index=True), load_tasks())
    return tabulate(marked, words, tokenizer)


def test_the_table_has_a_row_an_arm_seed_and_question(table: pd.DataFrame, answers: pd.DataFrame) -> None:
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == len(answers) + (answers["arm"] == "spelling").sum()
    ARM_ANSWERS.validate(table)
    assert table.groupby(["arm", "seed"]).ngroups == 3
    assert set(table["endpoint"]) == {"held_out", "made_up"}


def without_base(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["arm"] != "base"]


def base_of_two_minds(table: pd.DataFrame) -> pd.DataFrame:
    other = table[table["arm"] == "base"].assign(seed=1)
    return pd.concat([table, other.assign(correct=~other["correct"])])


def another_question(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(table[(table["arm"] == "spelling") & (table["seed"] == 1)].index[0])


def twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table[table["arm"] == "spelling"].head(1)], ignore_index=True)


def no_seed(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(seed=-1)


def no_endpoint(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(endpoint=None)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_base, "no row of the base model"),
        (base_of_two_minds, r"the seeds \(-1, 1\) disagree about the base model on 438 questions"),
        (
            another_question,
            r"the seeds of spelling answered different questions of spelling \(seed 0: 146, seed 1: 145\)",
        ),
        (twice, r"spelling \(seed 0\) answered '.*' twice"),
        (no_seed, "rows of spelling have no seed"),
        (no_endpoint, "no such endpoint: None"),
    ],
)
def test_what_cannot_be_compared_is_named(
    table: pd.DataFrame, spoil: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    check_table(table)
    with pytest.raises(EvaluationError, match=said):
        check_table(spoil(table))


def test_the_file_refuses_what_is_no_table_of_answers(table: pd.DataFrame) -> None:
    for mutant in (table.assign(arm="another"), table.drop(columns="direction"), twice(table)):
        with pytest.raises((pandera.errors.SchemaError, pandera.errors.SchemaErrors)):
            ARM_ANSWERS.validate(mutant)


def test_kinds_without_a_question_are_named(table: pd.DataFrame) -> None:
    missing = empty_strata(table)
    assert "held_out" not in missing
    assert "position: direction forward" in missing["spelled"]
    backward = table[(table["task"] == "position") & (table["direction"] == "backward")]
    assert empty_strata(table.drop(backward.index))["held_out"] == ["position: direction backward"]
