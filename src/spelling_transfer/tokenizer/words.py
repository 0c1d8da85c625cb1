"""Words in tokens: every word in four forms, how each is cut, how else it could be, and what the cuts do to letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from spelling_transfer.tokenizer.byte_level import TokenBytes
from spelling_transfer.tokenizer.chat import ChatTokenizer

WordForm = Literal["bare", "spaced", "capitalised", "plural"]
WORD_FORMS: tuple[WordForm, ...] = get_args(WordForm)

FORM_DESCRIPTIONS: dict[WordForm, str] = {
    "bare": "the word alone, as at the start of a text",
    "spaced": "after a space, as inside a sentence",
    "capitalised": "after a space, with a capital",
    "plural": "after a space, with its regular plural ending",
}

LONGEST_WORD = 60
"""Letters of the longest word that is analysed: the ways to cut it are counted in 64 bits."""

_VOWELS = frozenset("aeiou")


def plural_of(word: str) -> str:
    """Returns ``word`` with its plural ending by the regular rule: -s, -es after a hiss, -ies for a consonant and y.

    Irregular nouns (``men``) and words that are no nouns get the regular ending too; whether the result is a word is
    for the caller to look up.
    """
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in _VOWELS and len(word) > 1:
        return f"{word[:-1]}ies"
    return f"{word}s"


_WRITE: dict[WordForm, Callable[[str], str]] = {
    "bare": lambda word: word,
    "spaced": lambda word: f" {word}",
    "capitalised": lambda word: f" {word.capitalize()}",
    "plural": lambda word: f" {plural_of(word)}",
}


def write_forms(words: Sequence[str]) -> dict[WordForm, list[str]]:
    """Returns each word as it is written in each form."""
    return {form: list(map(write, words)) for form, write in _WRITE.items()}


def analyse_words(words: pd.DataFrame, tokenizer: ChatTokenizer, tokens: TokenBytes) -> pd.DataFrame:
    """Cuts every word in every form into tokens.

    Args:
        words: Columns ``word`` (letters a to z), ``zipf_frequency``, ``length``.
        tokenizer: The tokenizer.
        tokens: Its decoded vocabulary.

    Returns:
        A row for each word and form, forms in the order of ``WORD_FORMS``, words in the given order. Columns: ``word``,
        ``form``, ``text`` (what is tokenized), ``zipf_frequency``, ``length``, ``ids``, ``pieces`` (the token texts,
        ``" str|aw|berry"``), ``n_tokens``; ``ways`` and ``shortest_ways`` (segmentations into tokens of the vocabulary,
        and those with the fewest tokens) with ``fewest_tokens``; ``splits_double_letter`` (a border falls between two
        equal letters); ``letters_in_several_tokens`` (letters that must be counted across tokens, in alphabetical
        order); ``is_listed`` (for the plural: whether it is on the list itself).
    """
    listed = words["word"].tolist()
    forms = write_forms(listed)
    texts = [text for form in WORD_FORMS for text in forms[form]]
    ids = tokenizer.encode_texts(texts)
    text_of = {token: tokens[token].decode("utf-8", "replace") for row in ids for token in row}
    pieces = [[text_of[token] for token in row] for row in ids]
    count_ways, known = ways_counter(tokens.pieces()), set(listed)
    ways = [count_ways(text.encode()) for text in texts]
    is_listed = np.ones(len(texts), dtype=bool)
    is_listed[-len(listed) :] = [text[1:] in known for text in forms["plural"]]
    repeated = np.tile(np.arange(len(listed)), len(WORD_FORMS))
    frame = words[["word", "zipf_frequency", "length"]].take(repeated).reset_index(drop=True)
    return frame.assign(
        form=pd.Categorical.from_codes(np.repeat(np.arange(len(WORD_FORMS)), len(listed)), pd.Index(WORD_FORMS)),
        text=pd.array(texts, dtype="str"),
        ids=pd.Series([np.array(row, dtype=np.int32) for row in ids], dtype=object),
        pieces=pd.array(["|".join(row) for row in pieces], dtype="str"),
        n_tokens=np.array([len(row) for row in ids], dtype=np.int32),
        ways=np.array([each.ways for each in ways], dtype=np.int64),
        fewest_tokens=np.array([each.fewest for each in ways], dtype=np.int32),
        shortest_ways=np.array([each.shortest_ways for each in ways], dtype=np.int64),
        splits_double_letter=np.array([splits_double_letter(row) for row in pieces]),
        letters_in_several_tokens=pd.array([letters_in_several(row) for row in pieces], dtype="str"),
        is_listed=is_listed,
    )


class Ways(NamedTuple):
    """How a text could be cut into tokens of the vocabulary.

    Attributes:
        ways: Number of ways.
        fewest: Tokens of the shortest way; 0 where there is none.
        shortest_ways: Number of ways with so few tokens.
    """

    ways: int
    fewest: int
    shortest_ways: int


def ways_counter(tokens: Collection[bytes]) -> Callable[[bytes], Ways]:
    """Returns a function that counts the ways to cut a text into these tokens; endings of words are counted once."""

    @cache
    def count(text: bytes) -> Ways:
        if not text:
            return Ways(1, 0, 1)
        ways, fewest, shortest_ways = 0, 0, 0
        for end in range(1, len(text) + 1):
            if text[:end] not in tokens:
                continue
            rest = count(text[end:])
            ways += rest.ways
            if rest.ways and (not fewest or rest.fewest + 1 < fewest):
                fewest, shortest_ways = rest.fewest + 1, rest.shortest_ways
            elif rest.fewest + 1 == fewest:
                shortest_ways += rest.shortest_ways
        return Ways(ways, fewest, shortest_ways)

    return count


def splits_double_letter(pieces: Sequence[str]) -> bool:
    """Returns whether a border between tokens falls between two equal letters, as in ``ber|ry``."""
    return any(before[-1].lower() == after[0].lower() for before, after in pairwise(pieces))


def letters_in_several(pieces: Sequence[str]) -> str:
    """Returns the letters that occur in more than one token: counting them takes more than one token."""
    tokens_with = Counter(letter for piece in pieces for letter in set(piece.lower()))
    return "".join(sorted(letter for letter, tokens in tokens_with.items() if tokens > 1 and letter.isalpha()))
