"""A subset of the vocabulary: its mask, its hash, its file, and what texts need that it lacks."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.tokenizer.subset import (
    Segmentation,
    SubsetCoverage,
    TokenSubset,
    TokenSubsetError,
    cover,
    encoded_parts,
    english_subset,
    sentences_of,
)

_ROWS = 151_936
_IDS = st.sets(st.integers(0, _ROWS - 1), max_size=50)


@pytest.fixture(scope="module")
def english(english_tokens, tokenizer) -> TokenSubset:
    return TokenSubset.of_tokens(english_tokens, "english", tokenizer)


def subset_of(ids: set[int], prompt_only: set[int], sha256: str = "a" * 64) -> TokenSubset:
    return TokenSubset(
        "own", sha256, np.array(sorted(ids), dtype=np.int64), np.array(sorted(prompt_only), dtype=np.int64)
    )


def test_own_code_gets_the_subset_that_the_shipped_rules_make(listed_words, english, tokenizer):
    assert english_subset(listed_words, tokenizer).sha256 == english.sha256


@given(_IDS, _IDS)
def test_a_mask_never_lets_a_token_outside_the_subset_through(ids, others):
    prompt_only = ids & others
    allowed = np.flatnonzero(subset_of(ids, prompt_only).mask(_ROWS))
    assert set(allowed.tolist()) == ids - prompt_only


@given(_IDS, _IDS)
def test_the_hash_is_that_of_the_tokens(ids, others):
    same = subset_of(ids, set()).sha256 == subset_of(others, set()).sha256
    assert same == (ids == others)
    assert subset_of(ids, set()).sha256 != subset_of(ids, set(), "b" * 64).sha256
    assert (subset_of(ids, ids).sha256 == subset_of(ids, set()).sha256) == (not ids)


def test_the_highest_logit_under_the_mask_is_a_token_of_the_subset(english, tokenizer):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((200, _ROWS)).astype(np.float32)
    logits[:, list(tokenizer.think_ids)] = 50.0
    best = np.where(english.mask(_ROWS), logits, -np.inf).argmax(axis=1)
    assert set(best.tolist()) <= set(english.answer_ids.tolist())
    assert not english.mask(_ROWS)[[*tokenizer.think_ids, *range(151_669, _ROWS)]].any()
    assert english.mask(_ROWS)[tokenizer.end_id]


def test_the_file_gives_the_same_subset_and_no_think_id_among_the_answers(english, tokenizer):
    data = json.loads(json.dumps(english.to_json(tokenizer)))
    assert not set(tokenizer.think_ids) & set(data["answer_ids"])
    again = TokenSubset.from_json(data)
    assert again.sha256 == english.sha256 == data["sha256"]
    assert again.ids.tolist() == english.ids.tolist()
    assert again.answer_ids.tolist() == english.answer_ids.tolist()


@pytest.mark.parametrize(
    "change", [{"answer_ids": [1, 2]}, {"prompt_only": {}}, {"tokenizer_sha256": "b"}, {"sha256": ""}]
)
def test_an_altered_file_is_refused(english, tokenizer, change):
    with pytest.raises(TokenSubsetError, match="It was altered"):
        TokenSubset.from_json({**english.to_json(tokenizer), **change})


def test_a_file_with_a_part_missing_is_refused(english, tokenizer):
    data = english.to_json(tokenizer)
    del data["answer_ids"]
    with pytest.raises(TokenSubsetError, match=r"not readable .* run 'kedro tokens' again"):
        TokenSubset.from_json(data)


def test_only_a_subset_that_can_write_a_prompt_is_usable(english, english_tokens, tokenizer, chat, byte_level):
    english.check_usable(tokenizer)
    letters = TokenSubset.of_tokens(english_tokens, "letters", tokenizer)
    with pytest.raises(TokenSubsetError, match=r"'letters': lacks .* tokens of the prompt .* 'prompt_tokens: true'"):
        letters.check_usable(tokenizer)
    with pytest.raises(TokenSubsetError, match="the one in use is 000000000000"):
        english.check_usable(chat(byte_level()))


def test_a_subset_that_cannot_end_an_answer_is_not_usable(english, tokenizer):
    without = replace(english, ids=english.ids[english.ids != tokenizer.end_id])
    chat = replace(tokenizer, suffix_ids=tuple(token for token in tokenizer.suffix_ids if token != tokenizer.end_id))
    with pytest.raises(TokenSubsetError, match=rf"lacks 1 tokens of the prompt \(first: \[{tokenizer.end_id}\]\)"):
        without.check_usable(chat)


def test_an_unknown_rule_lists_the_known_ones(english_tokens, tokenizer):
    with pytest.raises(TokenSubsetError, match="'germanic' is no rule; known are ascii, letters, english"):
        TokenSubset.of_tokens(english_tokens, "germanic", tokenizer)


def test_a_head_without_the_row_of_a_token_is_refused(english):
    with pytest.raises(TokenSubsetError, match="beyond the 1000 rows"):
        english.mask(1_000)
    with pytest.raises(TokenSubsetError, match="its id 5 is beyond the 5 rows"):
        subset_of({1, 5}, {5}).mask(5)
    assert subset_of({1, 5}, {5}).mask(6).tolist() == [False, True, False, False, False, False]


def test_ids_beyond_the_vocabulary_are_not_in_it():
    assert subset_of({1, 5}, set()).contains(5).tolist() == [False, True, False, False, False]


def test_missing_tokens_are_counted_and_named(tokenizer, tokens, english):
    texts = ["the cat sat", "Straße", "日本 and Straße", "told"]
    (row,) = cover({"mine": Segmentation.of_rows(tokenizer.encode_texts(texts))}, [english], tokens, SubsetCoverage())
    needed = {token for ids in tokenizer.encode_texts(texts) for token in ids}
    assert (row["corpus"], row["rule"], row["texts"]) == ("mine", "english", 4)
    assert row["missing"] == len(english.missing(needed)) > 0
    assert (row["lost_texts"], row["lost_texts_share"]) == (2, 0.5)
    assert [example["count"] for example in row["examples"]] == sorted(
        (example["count"] for example in row["examples"]), reverse=True
    )
    assert "ße" in {example["text"] for example in row["examples"]}


def test_special_tokens_are_named_not_written_out(tokenizer, tokens, english_tokens):
    letters = TokenSubset.of_tokens(english_tokens, "letters", tokenizer)
    prompts = Segmentation.of_rows(tokenizer.encode_prompts(["Spell cat."]))
    (row,) = cover({"prompts": prompts}, [letters], tokens, SubsetCoverage())
    texts = {example["text"] for example in row["examples"]}
    assert "special token think" in texts
    assert not any("<" in text for text in texts)


def test_examples_are_cut_at_their_label():
    frame = pd.DataFrame(
        {
            "input_ids": [np.array([1, 2, 3, 4]), np.array([5]), np.array([6, 7]), np.array([8])],
            "label_start": [2, 1, 0, 3],  # the last was cut before its answer
        }
    )
    parts = encoded_parts(frame)
    assert (parts["prompts"].ids.tolist(), parts["prompts"].offsets.tolist()) == ([1, 2, 5, 8], [0, 2, 3, 3, 4])
    assert (parts["answers"].ids.tolist(), parts["answers"].offsets.tolist()) == ([3, 4, 6, 7], [0, 2, 2, 4, 4])


def test_a_text_is_taken_sentence_by_sentence():
    text = 'One. Two!\n\n"Three?" he said. Mr. Four'
    assert sentences_of(text) == ["One.", "Two!", '"Three?"', "he said.", "Mr.", "Four"]
