"""Which words are studied: the built-in list, or a user's own file, with a reason for everything that is left out."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from pydantic import Field, model_validator

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.frozen import FrozenModel
from spelling_transfer.words.families import bases

_EXAMPLES_PER_REASON = 20
_SHOWN_LENGTH = 40
_HEADERS = ("word", "words", "token", "lemma", "headword", "headwords", "term", "entry", "vocabulary")
_SEPARATORS = ",;\t|"


class WordListError(SpellingTransferError):
    """A word list cannot be read, or no word of it can be used."""


@dataclass(frozen=True)
class WordListFile:
    """A user's word list as it is, or the built-in one.

    Attributes:
        name: What to call it in errors; an ending of ``.csv`` or ``.tsv`` means a table.
        data: The file's bytes; ``None`` stands for the built-in list.
    """

    name: str = "the built-in word list"
    data: bytes | None = None


@dataclass
class Dropped:
    """What was left out of a word list, and why.

    Attributes:
        counts: Number of entries for each reason.
        examples: The first entries of each reason, at most 20, long ones shortened.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, entry: str) -> None:
        """Notes one entry that is left out."""
        self.counts[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES_PER_REASON:
            shown.append(entry if len(entry) <= _SHOWN_LENGTH else f"{entry[:_SHOWN_LENGTH]}… ({len(entry)} letters)")

    def as_dict(self) -> dict[str, dict[str, object]]:
        """Returns reason → count and examples, the most frequent reason first."""
        return {
            reason: {"count": count, "examples": self.examples[reason]} for reason, count in self.counts.most_common()
        }

    def __str__(self) -> str:
        return "; ".join(
            f"{count} × {reason} (for instance {self.examples[reason][0]!r})"
            for reason, count in self.counts.most_common()
        )


@cache
def dictionary_words() -> frozenset[str]:
    """Returns the words of Webster's Second (``english-words`` web2) that are written in lower-case letters alone."""
    from english_words import get_english_words_set

    return frozenset(word for word in get_english_words_set(["web2"]) if re.fullmatch("[a-z]+", word))


def frequent_words(count: int) -> list[str]:
    """Returns the most frequent English words of ``wordfreq``, the most frequent first, unfiltered."""
    import wordfreq

    return wordfreq.top_n_list("en", count)


def parse_word_list(data: bytes, name: str) -> list[str]:
    """Returns the entries of a text file (one a line) or a table (the column named ``word``, else that of most words).

    Args:
        data: The file as it is. UTF-8, with or without a byte order mark, or UTF-16 with one.
        name: What to call the file in errors; a name that ends in ``.csv`` or ``.tsv`` is read as a table, separated by
            commas, semicolons, tabs or bars.

    Raises:
        WordListError: The file is in another encoding, or is no table though its name says so.
    """
    text = io.StringIO(_decode(data, name), newline=None).read()  # lines of a Mac's older programs end in CR alone
    if not name.lower().endswith((".csv", ".tsv")):
        return text.splitlines()
    try:
        declared = re.match(r"sep=(.)\n", text)  # Excel's first line
        text = text[declared.end() :] if declared else text
        rows = list(csv.reader(io.StringIO(text), delimiter=declared[1] if declared else _separator(text, name)))
    except csv.Error as error:
        raise WordListError(f"{name}: not a readable table ({error}).") from error
    rows = [row for row in rows if row]
    if not rows:
        return []
    header = [cell.strip().lower() for cell in rows[0]]
    named = next((header.index(each) for each in _HEADERS if each in header), None)
    column = _column_of_words(rows) if named is None else named
    body = rows if named is None else rows[1:]
    if named is None and column < len(rows[0]) and _is_header(rows, column):
        body = rows[1:]
    return [row[column] if len(row) > column else "" for row in body]


def _separator(text: str, name: str) -> str:
    """Returns the separator of a table: the promised one, or the first line's commonest where that is absent."""
    promised = "\t" if name.lower().endswith(".tsv") else ","
    first = text.split("\n", 1)[0]
    return promised if promised in first else max(_SEPARATORS, key=lambda each: (first.count(each), each == promised))


def _column_of_words(rows: list[list[str]]) -> int:
    """Returns the column with the most different entries of letters alone, so that parts of speech are not taken."""
    width = max(len(row) for row in rows)
    cells = [{row[column].strip().lower() for row in rows if len(row) > column} for column in range(width)]
    return max(range(width), key=lambda column: (sum(cell.isalpha() for cell in cells[column]), -column))


def _is_header(rows: list[list[str]], column: int) -> bool:
    """Whether the first row is a header without a known name: another column is of numbers, but not in this row."""
    others = [place for place in range(len(rows[0])) if place != column]
    return any(
        rows[0][place].strip().isalpha()
        and len(rows) > 1
        and all(row[place].strip().replace(".", "").isdigit() for row in rows[1:] if len(row) > place)
        for place in others
    )


def _decode(data: bytes, name: str) -> str:
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        data = error.object  # without its byte order mark
        line = data.count(b"\n", 0, error.start) + 1
        raise WordListError(
            f"{name}, line {line}: byte {data[error.start]:#04x} is not {encoding.removesuffix('-sig').upper()}. "
            "Save the list as UTF-8."
        ) from error


def clean_words(entries: Iterable[str], *, min_length: int, max_length: int, name: str) -> tuple[list[str], Dropped]:
    """Keeps the entries that can be asked about: one word each, of the letters a to z, once.

    Capitals are lowered, blanks around a word are taken off; both are no reason to drop it.

    Raises:
        WordListError: Nothing is left. If the words are in another alphabet, the message says which.
    """
    words: dict[str, None] = {}
    dropped = Dropped()
    for entry in entries:
        word = entry.strip().lower() if entry.isascii() else unicodedata.normalize("NFC", entry).strip().lower()
        reason = _reason_against(word, min_length, max_length)
        if reason is None and word in words:
            reason = "duplicate"
        if reason is None:
            words[word] = None
        else:
            dropped.add(reason, entry)
    if not words:
        detail = f"Dropped: {dropped}." if dropped.counts else "The list has no entries."
        raise WordListError(
            f"{name}: no word is left. {detail} Kept are single words of {min_length} to {max_length} letters a to z "
            "(word_selection.min_length, word_selection.max_length)."
        )
    return list(words), dropped


def _reason_against(word: str, min_length: int, max_length: int) -> str | None:
    if not word:
        return "blank"
    if not (word.isascii() and word.isalpha()):
        return _reason_against_characters(word)
    if len(word) < min_length:
        return f"shorter than {min_length} letters"
    if len(word) > max_length:
        return f"longer than {max_length} letters"
    return None


def _reason_against_characters(word: str) -> str:
    if any(char.isspace() for char in word):
        return "several words in one entry"
    if any(char.isnumeric() for char in word):
        return "has digits"
    letters = [char for char in word if char.isalpha() and unicodedata.category(char) != "Lm"]
    foreign = next((char for char in letters if not char.isascii()), None)
    if foreign is not None:
        meant = unicodedata.normalize("NFKC", foreign)  # "ª" is a FEMININE ORDINAL INDICATOR, "µ" a MICRO SIGN
        script = unicodedata.name(meant[0], "unknown").split()[0].title()
        if script != "Latin" and not meant.isascii():
            return f"in another alphabet ({script})"
    if foreign is not None or any(unicodedata.combining(char) for char in word):  # "İ" in lower case: "i" and a dot
        return "has accented or special Latin letters"
    if any(unicodedata.category(char) in {"So", "Sk", "Cs", "Co", "Cn"} for char in word):
        return "has emoji or symbols"
    return "has punctuation or other signs"


BUILT_IN_LIST = WordListFile()


class WordSelection(FrozenModel):
    """Which words are studied."""

    top_words: int = Field(60_000, ge=100, le=300_000, description="Most frequent words of wordfreq to consider.")
    min_length: int = Field(3, ge=2, le=20, description="Fewest letters of a word.")
    max_length: int = Field(12, ge=2, le=20, description="Most letters of a word.")
    max_words: int | None = Field(None, ge=10, description="Keep only this many, the most frequent ones; all if null.")
    without_lines: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of families that the embedded model was pre-trained without; asked about as a set of their "
        "own and never trained on. 0 for any other model.",
    )
    random_words: int = Field(1_000, ge=0, le=100_000, description="Strings of random letters to make as test words.")
    seed: int = Field(0, ge=0, description="Seed of the random strings.")

    @model_validator(mode="after")
    def _lengths_are_ordered(self) -> WordSelection:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length ({self.min_length}) must not be above max_length ({self.max_length})")
        return self


class SelectedWords(NamedTuple):
    """The words that are kept, the most frequent first or in the order of one's own list, and what was left out."""

    words: list[str]
    dropped: Dropped


def select_words(selection: WordSelection, word_list: WordListFile = BUILT_IN_LIST) -> SelectedWords:
    """Chooses the words: the most frequent ones that a dictionary knows, or all usable ones of the user's own list.

    Of the built-in list a word is kept if it, or a word it is an inflection of, stands in Webster's Second: frequency
    lists from the web hold names, typing errors and foreign words. A user's own list is taken at its word.

    Args:
        selection: Bounds on words.
        word_list: A user's file, or the built-in list.

    Raises:
        WordListError: The list cannot be read or nothing in it can be used.
    """
    bounds = {"min_length": selection.min_length, "max_length": selection.max_length}
    name = word_list.name
    if word_list.data is not None:
        words, dropped = clean_words(parse_word_list(word_list.data, name), name=name, **bounds)
    else:
        candidates, dropped = clean_words(frequent_words(selection.top_words), name=name, **bounds)
        dictionary = dictionary_words()
        words = []
        for word in candidates:
            if word in dictionary or any(base in dictionary for base in bases(word)):
                words.append(word)
            else:
                dropped.add("not in the dictionary", word)
    if not words:
        raise WordListError(f"{name}: no word is left. Dropped: {dropped}.")
    most = selection.max_words or len(words)
    if word_list.data is not None and len(words) > most:  # a list of one's own is in any order
        import wordfreq

        shares = wordfreq.get_frequency_dict("en")
        words.sort(key=lambda word: shares.get(word, 0.0), reverse=True)
    for word in words[most:]:
        dropped.add(f"not among the {most:,} most frequent (word_selection.max_words)", word)
    return SelectedWords(words[:most], dropped)
