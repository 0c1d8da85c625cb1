"""What is known of each word; splits by family, random strings, and words of unseen tokens."""

import numpy as np
import pytest

from spelling_transfer.words.families import split_of
from spelling_transfer.words.word_list import WordSelection, dictionary_words, select_words
from spelling_transfer.words.word_sets import (
    TOKEN_HELD_OUT,
    UNKNOWN_SPELLING,
    LeakError,
    describe_splits,
    describe_words,
    make_random_words,
    split_words,
    token_overlap,
    tokens_in,
    without_lines,
)


def test_words_are_described_in_both_forms(tokenizer):
    described = describe_words(["strawberry", "cat"], tokenizer)
    encoded = tokenizer.encode_texts(["strawberry", "cat", " strawberry", " cat"])
    assert tokens_in(described) == {token for ids in encoded for token in ids}
    frame = described.set_index("word")
    assert list(frame["n_tokens_bare"]) == [3, 1]
    assert list(frame["n_tokens_spaced"]) == [1, 1]
    assert list(frame["repeated_letters"]) == [True, False]
    assert list(frame["length"]) == [10, 3]
    assert tokenizer.decode(frame.loc["strawberry", "ids_spaced"].tolist()) == " strawberry"
    assert frame.loc["strawberry", "ids_bare"].dtype == np.int32


def test_a_family_stands_in_one_split(words):
    assert (words.groupby("stem")["split"].nunique() == 1).all()
    real = words[words["word_set"] != "random"]
    assert all(split_of(stem) == split for stem, split in zip(real["stem"], real["split"], strict=True))


def test_no_inflection_crosses_splits(words):
    assert describe_splits(words)["inflections_across_splits"] == 0


def test_a_leak_would_stop_the_run(tokenizer, monkeypatch):
    described = describe_words(["walk", "walked", "walking", "straw"], tokenizer)
    monkeypatch.setattr("spelling_transfer.words.word_sets.find_families", lambda words, _: {w: w for w in words})
    with pytest.raises(LeakError, match="pairs of words in different splits are inflections"):
        split_words(described, tokenizer, WordSelection(random_words=0))


def test_held_out_tokens_occur_in_no_training_word(words):
    seen = tokens_in(words[words["split"] == "train"])
    held_out = words[words["word_set"] == "token_held_out"]
    assert len(held_out) > 10
    assert (held_out["split"] == "test").all()
    assert not seen & tokens_in(held_out)
    others = words[(words["split"] == "test") & (words["word_set"] == "word")]
    assert all(seen & {*bare, *spaced} for bare, spaced in zip(others["ids_bare"], others["ids_spaced"], strict=True))


def test_families_that_were_never_told_are_a_set_of_their_own_in_each_split(tokenizer):
    selection = WordSelection(random_words=0, max_words=1500)
    described = describe_words(select_words(selection).words, tokenizer)
    plain = split_words(described, tokenizer, selection).set_index("word")
    frame = split_words(described, tokenizer, selection.model_copy(update={"without_lines": 0.3})).set_index("word")
    unknown = frame["word_set"] == UNKNOWN_SPELLING
    assert frame.loc[unknown, "stem"].map(lambda stem: without_lines(stem, 0.3)).all()
    assert not frame.loc[~unknown, "stem"].map(lambda stem: without_lines(stem, 0.3)).any()
    assert set(frame.loc[unknown, "split"]) == {"train", "validation", "test", "pretrain"}
    assert 0.25 < unknown.groupby(frame["stem"]).all().mean() < 0.35
    assert (frame["split"] == plain["split"]).all()
    assert not (plain["word_set"] == UNKNOWN_SPELLING).any()
    # Tokens that are in an untold training word alone are unseen: such a word is never trained on.
    before, after = (set(table.index[table["word_set"] == TOKEN_HELD_OUT]) for table in (plain, frame))
    assert after - before
    assert before - set(frame.index[unknown]) <= after


def test_random_strings_are_no_words_but_made_of_known_tokens(words):
    random_words = words[words["word_set"] == "random"]
    real = words[words["word_set"] != "random"]
    assert len(random_words) > 100
    assert (random_words["split"] == "test").all()
    assert not set(random_words["word"]) & dictionary_words()
    assert tokens_in(random_words) <= tokens_in(real)


def test_random_strings_have_the_lengths_of_test_words(tokenizer):
    selection = WordSelection(random_words=200, max_words=20_000)
    described = describe_words(select_words(selection).words, tokenizer)
    frame = split_words(described, tokenizer, selection)
    random_words = frame[frame["word_set"] == "random"]
    tests = frame[(frame["split"] == "test") & (frame["word_set"] != "random")]
    assert len(random_words) == 200
    assert random_words["length"].mean() == pytest.approx(tests["length"].mean(), abs=0.6)  # standard error 0.15


def test_random_strings_depend_on_words_and_seed_alone(words, tokenizer):
    real = words[words["word_set"] != "random"]
    strings = make_random_words(real, tokenizer, 50, seed=1)
    assert make_random_words(real.iloc[::-1], tokenizer, 50, seed=1) == strings
    assert make_random_words(real, tokenizer, 50, seed=2) != strings


def test_token_overlap_is_reported_apart(words):
    overlap = token_overlap(words)
    assert overlap["token_held_out/spaced"]["tokens_seen"] == 0
    assert 0 < overlap["word/spaced"]["tokens_seen"] < overlap["word/bare"]["tokens_seen"] < 1
    assert overlap["word/bare"]["pairs_seen"] < overlap["word/bare"]["tokens_seen"]
