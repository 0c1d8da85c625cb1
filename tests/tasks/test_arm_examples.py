"""What the arms beside spelling are trained on: other words' letters, made-up words, places, tokens, plain lines."""

from __future__ import annotations

import pandas as pd
import pytest

from spelling_transfer.tasks.arm_examples import (
    ControlError,
    indexed_letters,
    letters_with_places,
    rehearsal_lines,
    tokens_of,
    wrong_letters,
)
from spelling_transfer.tasks.encoding import encode_examples, encode_lines, vocabulary_in_use
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.words.word_sets import tokens_in


def test_rehearsal_is_of_words_that_nothing_else_is_about(examples, words, tokenizer):
    lines = examples[examples["kind"] == "rehearsal"]
    assert len(lines) > 150
    assert set(lines["split"]) == {"pretrain"}
    held_out = tokens_in(words[words["word_set"] == "token_held_out"])
    assert held_out
    rehearsed = words[words["word"].isin(lines["word"])]
    assert not tokens_in(rehearsed) & held_out
    one = lines.iloc[0]
    assert (one["question"], one["answer"]) == (f" {one['word']}:\n", " ".join(one["word"]))


def test_plain_lines_are_encoded_without_the_chat_format(words, examples, tokenizer):
    lines = rehearsal_lines(words).head(3)
    encoded = encode_lines(lines, tokenizer)
    for line, row in zip(lines.itertuples(), encoded.itertuples(), strict=True):
        assert tokenizer.decode(row.input_ids[: row.label_start]) == line.question
        assert tokenizer.decode(row.input_ids[row.label_start :]) == line.answer
        assert row.input_ids[-1] == tokenizer.end_id
    # The policy wants a prompt before every answer of the encoded examples, and a plain line has none.
    assert not (encode_examples(examples, tokenizer)["kind"] == "rehearsal").any()


def test_indexed_spelling_says_the_place_of_every_letter(examples, words, tokenizer):
    rows = examples[examples["kind"] == "indexed"]
    assert set(rows["word"]) == set(words.loc[words["split"] == "train", "word"])
    assert indexed_letters("cat") == "1: c 2: a 3: t"
    assert all(row.answer == indexed_letters(row.word) for row in rows.itertuples())
    known = vocabulary_in_use(words["word"], load_tasks(), tokenizer)
    encoded = encode_examples(rows, tokenizer)
    assert {int(token) for ids in encoded["input_ids"] for token in ids} <= known


def test_wrong_letters_differ_from_the_real_data_in_the_answer_alone(examples):
    control = examples[examples["kind"] == "wrong_letters"]
    real = examples[(examples["kind"] == "real") & (examples["split"] == "train") & (examples["task"] == "spelling")]
    assert len(control) == len(real)
    assert list(control["question"]) == list(real["question"])
    assert (control["answer"].to_numpy() != real["answer"].to_numpy()).all()
    lengths = control["answer"].str.count("[a-z]").to_numpy()
    assert (lengths == control["word"].str.len()).mean() > 0.99
    assert list(control["separator"]) == list(real["separator"])


def test_every_word_is_said_as_often_as_in_the_real_data(examples):
    control = examples[(examples["kind"] == "wrong_letters")]
    said = control["answer"].str.replace("[^a-z]", "", regex=True)
    # Words whose neighbour is of their own family, or that are alone in their length, borrow another's answer.
    assert (said.value_counts().reindex(control["word"].unique()).fillna(0) == 2).mean() > 0.98


def test_no_word_gets_an_answer_from_its_own_family(examples, words):
    stem_of = dict(zip(words["word"], words["stem"], strict=True))
    control = examples[examples["kind"] == "wrong_letters"]
    said = control["answer"].str.replace("[^a-z]", "", regex=True).map(stem_of)
    assert (said != control["stem"]).all()


def test_one_family_alone_is_an_error():
    rows = pd.DataFrame({"word": ["walk", "walks"], "stem": "walk", "separator": " "})
    with pytest.raises(ControlError, match="all 2 training words are of the family 'walk'"):
        wrong_letters(rows, 0)


def test_letters_carry_their_places():
    assert letters_with_places("cat") == "c1 a2 t3"


def test_tokens_are_shown_as_they_are_in_words(words, tokenizer, examples):
    rows = examples[examples["kind"] == "token_letters"]
    trained = words[words["split"] == "train"]
    others = words.loc[words["split"] != "train", ["word", "stem"]].to_numpy().ravel()
    listed = tokens_of([*trained["ids_bare"], *trained["ids_spaced"]], tokenizer)
    tokens = [each for each in listed if each[1] not in others]
    assert len(listed) > len(rows) == len(tokens) > 2000
    for (token, letters, spaced), row in list(zip(tokens, rows.itertuples(), strict=True))[::50]:
        assert row.answer == letters_with_places(letters)
        assert row.question.startswith(letters) != spaced
        (ids,) = tokenizer.encode_texts([row.question])
        assert token in ids


def test_tokens_of_held_out_words_stay_unseen(words, tokenizer, examples):
    trained = words[words["split"] == "train"]
    tokens = {token for token, _, _ in tokens_of([*trained["ids_bare"], *trained["ids_spaced"]], tokenizer)}
    held_out = words[words["word_set"] == "token_held_out"]
    assert not tokens & tokens_in(held_out)


def test_a_short_list_without_words_for_plain_lines_gives_none(words: pd.DataFrame) -> None:
    lines = rehearsal_lines(words[words["split"] != "pretrain"])
    assert len(lines) == 0
    assert {"word", "stem", "question"} <= set(lines.columns)
