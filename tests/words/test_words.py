"""Which words are chosen, what is known of each, which token ids they can need."""

import numpy as np
import pytest
from pydantic import ValidationError

from spelling_transfer.tasks.base import SEPARATORS
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.words.word_list import dictionary_words
from spelling_transfer.words.words import WordSelection, describe_words, select_words, vocabulary_in_use


def test_the_built_in_list_has_the_size_that_the_documents_name():
    words, dropped = select_words(WordSelection())
    assert 36_000 <= len(words) <= 38_000
    assert len(words) + sum(dropped.counts.values()) == 60_000
    assert all(3 <= len(word) <= 12 and word.isascii() and word.isalpha() and word.islower() for word in words)
    assert {"strawberry", "walked", "cities"} <= set(words)
    assert not {"http", "microsoft", "wtf"} & set(words)
    assert words[:2] == ["the", "and"]


def test_names_and_inflections_are_told_apart_by_the_dictionary():
    assert "walks" not in dictionary_words()  # kept because "walk" is there
    assert dropped_reason("microsoft") == "not in the dictionary"


def dropped_reason(word):
    _, dropped = select_words(WordSelection(top_words=5000))
    return next(reason for reason, examples in dropped.examples.items() if word in examples or reason.startswith("not"))


def test_words_are_described_in_both_forms(tokenizer):
    frame = describe_words(["strawberry", "cat"], tokenizer).set_index("word")
    assert list(frame["n_tokens_bare"]) == [3, 1]
    assert list(frame["n_tokens_spaced"]) == [1, 1]
    assert list(frame["repeated_letters"]) == [True, False]
    assert list(frame["length"]) == [10, 3]
    assert tokenizer.decode(frame.loc["strawberry", "ids_spaced"].tolist()) == " strawberry"
    assert frame.loc["strawberry", "ids_bare"].dtype == np.int32


@pytest.mark.parametrize("change", [{"min_length": 9, "max_length": 4}, {"top_words": 5}, {"unknown": 1}])
def test_settings_out_of_bounds_are_refused(change):
    with pytest.raises(ValidationError):
        WordSelection(**change)


def test_the_vocabulary_in_use_holds_every_example(words, examples, tokenizer):
    ids = vocabulary_in_use(words["word"], load_tasks(), tokenizer, case_variants=True)
    kept = examples[~((examples["task"] == "reverse") & (examples["separator"] == ""))].iloc[::5]
    prompts = tokenizer.encode_prompts(list(kept["question"]))
    answers = tokenizer.encode_texts(list(kept["answer"]))
    assert {token for row in [*prompts, *answers] for token in row} <= ids
    assert {tokenizer.end_id, *tokenizer.think_ids} <= ids
    assert {separator for separator, _ in SEPARATORS.values()} == {" ", ",", "-", ""}


def test_case_variants_need_more_ids(words, tokenizer):
    lower = vocabulary_in_use(words["word"][:50], {"spelling": load_tasks()["spelling"]}, tokenizer)
    every = vocabulary_in_use(words["word"][:50], {"spelling": load_tasks()["spelling"]}, tokenizer, case_variants=True)
    assert lower < every
