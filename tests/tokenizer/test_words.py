"""Words in tokens: the table, its summary, and what stands around a word."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from spelling_transfer.tokenizer.word_stats import (
    WordAnalysis,
    band_of,
    place_of_word,
    segmentation_in_contexts,
    segmentation_in_templates,
    summarise_words,
)
from spelling_transfer.tokenizer.words import LONGEST_WORD, analyse_words, plural_of, ways_counter

WORDS = ["strawberry", "berry", "berries", "told", "bookkeeper", "the", "urs"]


@pytest.fixture(scope="module")
def words() -> pd.DataFrame:
    frequencies = [3.7, 4.0, 4.1, 5.5, 2.5, 7.7, 2.0]
    return pd.DataFrame({"word": WORDS, "zipf_frequency": frequencies, "length": [len(word) for word in WORDS]})


@pytest.fixture(scope="module")
def table(words, tokenizer, tokens) -> pd.DataFrame:
    return analyse_words(words, tokenizer, tokens)


def row(table: pd.DataFrame, word: str, form: str) -> pd.Series:
    return table[(table["word"] == word) & (table["form"] == form)].iloc[0]


def test_strawberry_is_three_tokens_alone_and_one_after_a_space(table):
    assert row(table, "strawberry", "bare")["pieces"] == "str|aw|berry"
    assert [row(table, "strawberry", form)["n_tokens"] for form in ("bare", "spaced", "capitalised", "plural")] == [
        3,
        1,
        1,
        1,
    ]
    assert row(table, "strawberry", "plural")["text"] == " strawberries"


def test_each_row_says_what_was_cut_and_its_tokens_spell_it(table, tokens):
    assert len(table) == 4 * len(WORDS)
    for text, ids, pieces in zip(table["text"], table["ids"], table["pieces"], strict=True):
        assert b"".join(tokens[token_id] for token_id in ids) == text.encode()
        assert pieces.replace("|", "") == text


def test_letters_that_cross_borders_are_found(table):
    assert row(table, "strawberry", "bare")["letters_in_several_tokens"] == "r"
    assert row(table, "strawberry", "spaced")["letters_in_several_tokens"] == ""
    assert row(table, "bookkeeper", "spaced")["pieces"] == " book|keeper"
    assert row(table, "bookkeeper", "spaced")["splits_double_letter"]
    assert row(table, "bookkeeper", "spaced")["letters_in_several_tokens"] == "k"
    assert not row(table, "told", "bare")["splits_double_letter"]


def brute_force(text: str, vocabulary: frozenset[str]) -> list[int]:
    """Lengths of all segmentations, found one by one."""
    if not text:
        return [0]
    return [
        1 + rest
        for end in range(1, len(text) + 1)
        if text[:end] in vocabulary
        for rest in brute_force(text[end:], vocabulary)
    ]


@given(st.text(alphabet="abn", max_size=8))
def test_the_ways_to_cut_a_word_are_those_found_one_by_one(text):
    known = frozenset({"a", "b", "n", "ab", "ban", "bana", "na", "nan"})
    lengths = brute_force(text, known)
    expected = (len(lengths), min(lengths), lengths.count(min(lengths)))
    assert ways_counter({token.encode() for token in known})(text.encode()) == expected


def test_a_text_that_no_tokens_spell_has_no_way():
    assert ways_counter({b"ba", b"at"})(b"bat") == (0, 0, 0)


def test_the_ways_of_the_longest_word_fit_their_column():
    text = f" {plural_of('s' * LONGEST_WORD)}"
    every_part = {text[start:end].encode() for end in range(len(text) + 1) for start in range(end)}
    assert ways_counter(every_part)(text.encode()).ways == 2 ** (len(text) - 1) < 2**63


def test_a_plural_is_listed_where_the_list_has_it(table):
    plurals = table[table["form"] == "plural"].set_index("word")["is_listed"]
    assert plurals["berry"]
    assert not plurals["strawberry"]


def test_a_summary_always_names_the_form(table):
    summary = summarise_words(table, WordAnalysis())
    assert summary["words"] == len(WORDS)
    forms = {form["form"]: form for form in summary["forms"]}
    assert list(forms) == ["bare", "spaced", "capitalised", "plural"]
    assert forms["plural"]["words"] == 1  # berries; the other plurals are on no list
    spaced = table[table["form"] == "spaced"]["n_tokens"]
    assert forms["spaced"]["mean_tokens"] == pytest.approx(spaced.mean(), abs=1e-4)
    assert sum(forms["spaced"]["tokens"].values()) == len(WORDS)
    assert summary["multi_token_words"]["bare"][0]["word"] == "told"
    bands = {(entry["band"], entry["form"]): entry["words"] for entry in summary["by_frequency"]}
    assert bands["very frequent", "bare"] == 2
    assert {entry["length"] for entry in summary["by_length"]} == {3, 4, 5, 7, 10}


def test_bands_take_what_is_at_their_floor():
    frequencies = pd.Series([5.0, 4.99, 3.0, 0.0, -1.0])
    assert list(band_of(frequencies, {"high": 5, "middle": 3, "low": 0})) == ["high", "middle", "middle", "low", "low"]


def test_what_stands_in_front_decides_how_a_word_is_cut(tokenizer, words):
    contexts = {row["context"]: row for row in segmentation_in_contexts(tokenizer, words, WordAnalysis())}
    assert contexts["after a space"]["spaced_share"] == 1  # " urs" too, whose space is a token of its own
    for name in ("at the start", "after a newline", "in double quotes", "in brackets"):
        assert contexts[name]["bare_share"] == 1, name
    assert contexts["after an underscore"]["glued_share"] > 0.5
    assert all(row["words"] == len(WORDS) for row in contexts.values())


def test_templates_are_looked_at_where_their_word_stands(tokenizer):
    questions = ["Spell the word told.", 'Spell "told".', "Told: spell it.", "No such word"]
    examples = pd.DataFrame(
        {"task": "spelling", "template": [f"spelling/{n}" for n in range(4)], "word": "told", "question": questions}
    )
    rows = segmentation_in_templates(tokenizer, examples)
    assert [row["words"] for row in rows] == [1, 1, 1, 0]
    assert [(row["spaced_share"], row["bare_share"]) for row in rows] == [(1, 0), (0, 1), (0, 0), (0, 0)]


def test_a_word_is_found_as_a_word_of_its_own():
    assert place_of_word("cathedral of a Cat", "cat") == 15
    assert place_of_word("concatenate", "cat") == -1


@pytest.mark.parametrize(
    "wrong",
    [
        {"contexts": {"x": "no word"}},
        {"contexts": {"x": "{word}{word}"}},
        {"frequency_bands": {"a": 1, "b": 2}},
        {"top": 3},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        WordAnalysis.model_validate(wrong)
