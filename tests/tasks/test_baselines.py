"""Answers that never look at the word."""

import pandas as pd
import pytest

from spelling_transfer.tasks.baselines import BaselineError, check_baselines, compute_baselines
from spelling_transfer.tasks.mixture import REAL


@pytest.fixture(scope="module")
def baselines(examples, words, tokenizer):
    return compute_baselines(examples, words, tokenizer).set_index(["split", "word_set", "task", "baseline"])


def test_no_constant_answer_does_well(baselines):
    check_baselines(baselines.reset_index())
    accuracy = baselines["accuracy"]
    assert accuracy["test", "word", "count", "majority_answer"] == 0.25
    assert accuracy["test", "word", "count", "answer_by_argument"] == 0.25
    assert accuracy["test", "word", "position", "majority_answer"] < 0.15
    assert accuracy["test", "word", "position", "letter_by_position"] < 0.15
    assert 0 < accuracy["test", "word", "spelling", "letter_by_position"] < 0.25


def test_the_first_letter_of_the_token_is_right_where_the_first_letter_is_asked(examples, words, tokenizer):
    first = examples[(examples["task"] == "position") & (examples["argument"] == "1") & (examples["split"] == "test")]
    table = compute_baselines(first, words, tokenizer).set_index(["word_set", "baseline"])
    assert table.loc[("word", "first_token_letter"), "accuracy"] == 1.0


def test_a_test_set_that_gives_answers_away_is_refused(words, tokenizer):
    word = "straw"
    rows = pd.DataFrame(
        {
            "kind": REAL,
            "split": "test",
            "word_set": "word",
            "task": "count",
            "word": word,
            "argument": "s",
            "answer": ["1"] * 140 + ["0"] * 60,
        }
    )
    with pytest.raises(BaselineError, match=r"'count' on word set 'word'.* scores 0\.700, above 0\.35"):
        check_baselines(compute_baselines(rows, words, tokenizer))
