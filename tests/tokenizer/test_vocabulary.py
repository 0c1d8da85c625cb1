"""The vocabulary as a table, and in numbers. The figures are those of the pinned tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.tokenizer.byte_level import decode_vocabulary
from spelling_transfer.tokenizer.vocabulary import (
    ASCII_CLASSES,
    COMMON,
    MIXED,
    inspect_tokenizer,
    scripts_of,
    summarise_vocabulary,
    vocabulary_table,
)


@pytest.fixture(scope="module")
def stats(tokenizer, tokens, vocabulary):
    return summarise_vocabulary(vocabulary, inspect_tokenizer(tokenizer, tokens), embedding_rows=151_936)


def test_the_figures_of_the_pinned_tokenizer(stats):
    assert (stats["base_tokens"], stats["added_tokens"], stats["rows_without_token"]) == (151_643, 26, 267)
    assert stats["valid_utf8"] == 150_195
    assert stats["ascii"] == 94_358
    assert (stats["letters"], stats["letters_bare"], stats["letters_spaced"]) == (68_923, 27_376, 41_547)


def test_the_raw_strings_lose_every_token_after_a_space(stats):
    heuristic = stats["raw_string_heuristic"]
    assert (heuristic["kept"], heuristic["lost"]) == (47_938, 46_420)
    assert heuristic["lost_letters"] == stats["letters_spaced"]
    assert heuristic["kept_with_leading_space"] == 0


def test_what_begins_as_special_tokens_do_is_part_of_what_is_lost(vocabulary, stats):
    strings = vocabulary.loc[vocabulary["token_class"] != "special", "token"]
    in_ascii = strings[strings.map(str.isascii)]
    assert len(in_ascii) == 48_265
    assert len(in_ascii) - in_ascii.str.startswith("<").sum() == stats["raw_string_heuristic"]["kept"]


def test_the_classes_agree_with_a_plain_reading_of_each_text(vocabulary, tokens):
    # The same figures the slow way, token by token.
    texts = ["" if i in tokens.added else data.decode("utf-8", "replace") for i, data in enumerate(tokens)]
    by_class = vocabulary.groupby("token_class", observed=True)["token_id"].apply(set)
    letters = {i for i, text in enumerate(texts) if text.isascii() and text.removeprefix(" ").isalpha()}
    assert by_class["letters"] == letters
    assert by_class["digits"] == {i for i, text in enumerate(texts) if text.isascii() and text.isdigit()}
    assert by_class["whitespace"] == {i for i, text in enumerate(texts) if text and not text.strip(" \t\n\r\v\f")}
    assert by_class["non_ascii"] == {
        i for i, data in enumerate(tokens) if not data.isascii() and data.decode("utf-8", "ignore").encode() == data
    }
    plain = [data.isascii() and bool(data) and i not in tokens.added for i, data in enumerate(tokens)]
    assert vocabulary["token_class"].isin(ASCII_CLASSES).tolist() == plain


def test_every_id_has_one_row_and_its_letter_case(vocabulary):
    assert vocabulary["token_id"].tolist() == list(range(151_669))
    by_text = vocabulary[vocabulary["token_class"] == "letters"].set_index("text")["letter_case"]
    cases = {" the": "lower", "The": "capitalised", "A": "capitalised", "URL": "upper", "iPhone": "mixed"}
    assert {text: by_text[text] for text in cases} == cases


def test_scripts_lengths_and_classes_add_up(stats):
    assert sum(stats["scripts"].values()) == stats["base_tokens"]
    assert sum(stats["characters"]["distribution"].values()) == stats["valid_utf8"]
    assert sum(row["bare"] + row["spaced"] for row in stats["letter_lengths"]) == stats["letters"]
    assert sum(row["tokens"] for row in stats["classes"]) == stats["base_tokens"] + stats["added_tokens"]
    assert stats["scripts"]["Han"] > stats["scripts"]["Cyrillic"] > stats["scripts"]["Greek"] > 0


def test_another_byte_level_tokenizer_is_analysed_and_said_to_be_another(byte_level, chat):
    other = chat(byte_level(" straw", "berry", added=("<|end|>",)))
    tokens = decode_vocabulary(other.tokenizer)
    report = inspect_tokenizer(other, tokens)
    assert not report.is_pinned
    assert "not the official Qwen3 tokenizer" in report.statements[0]
    assert any("no special token think" in statement for statement in report.statements)
    assert not any("<" in text for text in (*report.statements, *report.missing_added))  # no tag written out in data
    table = vocabulary_table(tokens)
    assert table.loc[table["text"] == " straw", "token_class"].tolist() == ["letters"]
    stats = summarise_vocabulary(table, report, embedding_rows=300)
    assert (stats["added_tokens"], stats["base_tokens"]) == (1, len(tokens) - 1)
    assert stats["rows_without_token"] == 300 - len(tokens)


def test_parts_of_characters_have_no_text(byte_level):
    table = vocabulary_table(decode_vocabulary(byte_level()))
    assert table["token_class"].value_counts()[["letters", "digits", "partial"]].tolist() == [52, 10, 128]
    assert table.loc[table["token_class"] == "partial", "text"].isna().all()


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("strawberry", "Latin"),
        (" Straße,", "Latin"),
        ("дом", "Cyrillic"),
        ("δ=1", "Greek"),
        ("汉字", "Han"),
        ("한국어", "Hangul"),
        ("ひらがな", "Hiragana"),
        ("ไทย", "Thai"),
        ("é", "Latin"),  # decomposed: the accent takes the script of its letter
        ("ꓥ", "Lisu"),
        ("漢かな", MIXED),
        ("Aд", MIXED),
        ("123 + 4 = 🍓", COMMON),
        ("", COMMON),
        ("𐔀", "Other"),  # Elbasan, which the list leaves out
    ],
)
def test_a_text_has_the_script_of_its_letters(text, script):
    assert scripts_of([text]) == [script]


@given(st.lists(st.text(max_size=5), max_size=8))
def test_a_text_has_the_same_script_alone_and_among_others(texts):
    assert scripts_of(texts) == [script for text in texts for script in scripts_of([text])]
