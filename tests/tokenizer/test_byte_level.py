"""From vocabulary strings to bytes and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from spelling_transfer.tokenizer.byte_level import (
    BYTE_CHARACTERS,
    UnsupportedTokenizerError,
    decode_vocabulary,
    token_to_bytes,
)


@given(st.binary())
def test_decoding_is_the_inverse_of_encoding_for_any_bytes(data):
    assert token_to_bytes("".join(BYTE_CHARACTERS[byte] for byte in data)) == data


def test_decoding_is_the_inverse_of_encoding_for_every_id(tokens):
    for token_id, data in enumerate(tokens):
        if token_id not in tokens.added:
            assert "".join(BYTE_CHARACTERS[byte] for byte in data) == tokens.strings[token_id]


def test_every_byte_has_one_printable_character():
    assert len(set(BYTE_CHARACTERS)) == 256
    assert all(character.isprintable() and not character.isspace() for character in BYTE_CHARACTERS)
    # GPT-2's table, as everyone knows it.
    assert (BYTE_CHARACTERS[ord(" ")], BYTE_CHARACTERS[ord("\n")], BYTE_CHARACTERS[ord("a")]) == ("Ġ", "Ċ", "a")


def test_the_bytes_of_an_id_are_those_that_the_tokenizer_decodes_it_to(tokenizer, tokens):
    decoded = tokenizer.tokenizer.decode_batch(
        [[token_id] for token_id in range(len(tokens))], skip_special_tokens=False
    )
    assert [data.decode("utf-8", "replace") for data in tokens] == decoded


def test_added_tokens_are_literal_even_with_blanks_and_other_letters(byte_level):
    tokenizer = byte_level("ab", added=("<|end|>", "<a b>", "<é>"))
    tokens = decode_vocabulary(tokenizer)
    assert [tokens[token_id] for token_id in range(256, 260)] == [b"ab", b"<|end|>", b"<a b>", "<é>".encode()]
    assert tokens.added == {257, 258, 259}
    assert len(tokens.pieces()) == 257


def test_ids_without_a_token_are_empty_and_higher_ones_are_not_lost():
    vocabulary = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)} | {"ab": 300}
    tokens = decode_vocabulary(Tokenizer(models.BPE(vocab=vocabulary, merges=[("a", "b")])))
    assert len(tokens) == 301
    assert (tokens[256], tokens[299], tokens[300]) == (b"", b"", b"ab")
    assert tokens.strings.count("") == 44


def test_special_tokens_are_named_not_written_out(tokenizer, tokens):
    names = [tokens.name(token_id) for token_id in (tokenizer.end_id, *tokenizer.think_ids)]
    assert names == ["special token im_end", "special token think", "closing token think"]
    assert tokens.name(tokenizer.encode_texts([" strawberry"])[0][0]) == " strawberry"


def test_a_vocabulary_of_another_kind_is_refused_with_what_still_works(word_piece):
    with pytest.raises(UnsupportedTokenizerError, match=r"'дом' .* byte-level BPE only .* --analyze-thinking"):
        decode_vocabulary(word_piece)
    with pytest.raises(UnsupportedTokenizerError, match="'▁the'"):
        token_to_bytes("▁the")
