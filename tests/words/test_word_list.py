"""Word lists, the built-in one and the user's own: what is kept, what is dropped and why, what is refused."""

import pytest
from pydantic import ValidationError

from spelling_transfer.words.word_list import (
    WordListError,
    WordListFile,
    WordSelection,
    clean_words,
    dictionary_words,
    parse_word_list,
    select_words,
)

BOUNDS = {"min_length": 3, "max_length": 12, "name": "my.txt"}


def test_everything_that_is_dropped_is_counted_with_its_reason():
    entries = [
        "Straw", "berry ", "STRAW", "", "   ", "ab", "x" * 10_000, "ice cream", "3d", "r2d2", "café", "日本語", "слово",
        "😀", "it's", "well-known", "€uro", "berry", "İstanbul", "x\u030cylo", "nª", "ｆｕｌｌ", "µm", "don\u02bct",
    ]  # fmt: skip
    words, dropped = clean_words(entries, **BOUNDS)
    assert words == ["straw", "berry"]
    assert dropped.counts == {
        "duplicate": 2,
        "blank": 2,
        "shorter than 3 letters": 1,
        "longer than 12 letters": 1,
        "several words in one entry": 1,
        "has digits": 2,
        "has accented or special Latin letters": 5,
        "in another alphabet (Cjk)": 1,
        "in another alphabet (Cyrillic)": 1,
        "in another alphabet (Greek)": 1,
        "has emoji or symbols": 1,
        "has punctuation or other signs": 4,
    }
    report = dropped.as_dict()
    assert sum(entry["count"] for entry in report.values()) == len(entries) - len(words)
    assert report["longer than 12 letters"]["examples"] == [f"{'x' * 40}… (10000 letters)"]


def test_examples_of_a_reason_are_limited():
    _, dropped = clean_words(["straw", *(f"{i}st" for i in range(100))], **BOUNDS)
    assert dropped.counts["has digits"] == 100
    assert len(dropped.examples["has digits"]) == 20


@pytest.mark.parametrize("text", ["", "\n\n", "word\n", "слово\nдругое\n", "12\n34\n"])
def test_an_empty_result_is_an_error_that_says_what_was_dropped(text):
    with pytest.raises(WordListError, match=r"my\.(txt|csv): no word is left") as error:
        select_words(WordSelection(), WordListFile("my.csv" if text.startswith("word") else "my.txt", text.encode()))
    if "слово" in text:
        assert "2 × in another alphabet (Cyrillic) (for instance 'слово')" in str(error.value)


@pytest.mark.parametrize(
    ("name", "data", "entries"),
    [
        ("a.txt", b"straw\r\nberry\n", ["straw", "berry"]),
        ("a.txt", "straw\nberry".encode("utf-8-sig"), ["straw", "berry"]),
        ("a.txt", "straw\nberry".encode("utf-16"), ["straw", "berry"]),
        ("a.csv", b"rank,word\n1,straw\n2,berry\n", ["straw", "berry"]),
        ("a.csv", b"straw,5\nberry,6\n", ["straw", "berry"]),
        ("a.tsv", b"Word\tn\nstraw\t1\n\n\t2\n", ["straw", ""]),
        ("a.csv", b"", []),
        ("a.csv", b"Rank,Headword,Freq\n1,straw,9\n2,berry,8\n", ["straw", "berry"]),
        ("a.csv", b"Rang,Wort,Freq\n1,straw,9\n2,berry,8\n", ["straw", "berry"]),
        ("a.csv", b"1,straw\n2,berry\n", ["straw", "berry"]),
        ("a.csv", b"noun,straw\nnoun,berry\nverb,walk\n", ["straw", "berry", "walk"]),
        ("a.csv", b"WORD,POS\nstraw,noun\n", ["straw"]),
        ("a.csv", "Word;Level\nstraw;A0\nberry;A1\n".encode("utf-8-sig"), ["straw", "berry"]),
        ("a.csv", b"sep=;\r\nWord;Level\r\nstraw;A0\r\n", ["straw"]),
        ("a.csv", "word\tn\nstraw\t1\n".encode("utf-16"), ["straw"]),
        ("a.csv", b'"id","word"\n"1","straw"\n', ["straw"]),
        ("a.csv", b"id,word\r1,straw\r2,berry\r", ["straw", "berry"]),  # Excel's "CSV (Macintosh)"
    ],
)
def test_text_and_tables_are_read(name, data, entries):
    assert parse_word_list(data, name) == entries


def test_another_encoding_is_an_error_that_names_line_and_remedy():
    with pytest.raises(WordListError, match=r"my\.txt, line 3: byte 0xe9 is not UTF-8\. Save the list as UTF-8"):
        parse_word_list("straw\nberry\ncafé\n".encode("latin-1"), "my.txt")
    with pytest.raises(WordListError, match=r"line 3: byte 0xe9"):
        parse_word_list(b"\xef\xbb\xbfstraw\nberry\n\xe9tat\n", "my.txt")


def test_a_broken_table_is_an_error():
    with pytest.raises(WordListError, match="not a readable table"):
        parse_word_list(b"a\rb\x00,\n" + b'"' + b"x" * 200_000, "my.csv")


def test_words_of_an_own_list_need_no_dictionary():
    assert select_words(WordSelection(), WordListFile("my.txt", b"zorblax\nstraw\n")).words == ["zorblax", "straw"]


def test_of_a_long_list_the_most_frequent_are_kept_and_the_others_are_counted():
    listed = WordListFile("my.txt", b"aardvark\nzorblax\nthe\nberry\nand\n")
    words, dropped = select_words(WordSelection(max_words=10), listed)
    assert (words, dropped.counts) == (["aardvark", "zorblax", "the", "berry", "and"], {})
    few = WordSelection.model_construct(min_length=3, max_length=12, max_words=3)
    words, dropped = select_words(few, listed)
    assert words == ["the", "and", "berry"]
    assert dropped.counts == {"not among the 3 most frequent (word_selection.max_words)": 2}


def test_the_built_in_list_has_the_size_that_the_documents_name():
    words, dropped = select_words(WordSelection())
    assert 36_000 <= len(words) <= 38_000
    assert len(words) + sum(dropped.counts.values()) == 60_000
    assert all(3 <= len(word) <= 12 and word.isascii() and word.isalpha() and word.islower() for word in words)
    assert {"strawberry", "walked", "cities"} <= set(words)
    assert not {"http", "microsoft", "wtf"} & set(words)
    assert words[:2] == ["the", "and"]


def test_the_dictionary_distinguishes_inflections_from_names():
    assert "walks" not in dictionary_words()  # kept because "walk" is there
    assert dropped_reason("microsoft") == "not in the dictionary"


def dropped_reason(word):
    _, dropped = select_words(WordSelection(top_words=5000))
    return next(reason for reason, examples in dropped.examples.items() if word in examples or reason.startswith("not"))


@pytest.mark.parametrize("change", [{"min_length": 9, "max_length": 4}, {"top_words": 5}, {"unknown": 1}])
def test_settings_out_of_bounds_are_refused(change):
    with pytest.raises(ValidationError):
        WordSelection(**change)
