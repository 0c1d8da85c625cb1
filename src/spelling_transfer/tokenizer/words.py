"""Words in tokens: every word in four forms, how each is cut, and what the cuts do to its letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import pandas as pd

from spelling_transfer.tokenizer.byte_level import TokenBytes
from spelling_transfer.tokenizer.plurals import plural_of
from spelling_transfer.tokenizer.segment import Segmentation, WordSegmenter

WordForm = Literal["bare", "spaced", "capitalised", "plural"]
WORD_FORMS: tuple[WordForm, ...] = get_args(WordForm)

FORM_DESCRIPTIONS: dict[WordForm, str] = {
    "bare": "the word alone, as at the start of a text",
    "spaced": "after a space, as inside a sentence",
    "capitalised": "after a space, with a capital",
    "plural": "after a space, with its regular plural ending",
}

_WRITE: dict[WordForm, Callable[[str], str]] = {
    "bare": lambda word: word,
    "spaced": lambda word: f" {word}",
    "capitalised": lambda word: f" {word.capitalize()}",
    "plural": lambda word: f" {plural_of(word)}",
}

_N_LETTERS = 26


def write_forms(words: Sequence[str]) -> dict[WordForm, list[str]]:
    """Returns each word as it is written in each form."""
    return {form: list(map(write, words)) for form, write in _WRITE.items()}


def analyse_words(words: pd.DataFrame, segmenter: WordSegmenter, tokens: TokenBytes) -> pd.DataFrame:
    """Cuts every word in every form into tokens.

    Args:
        words: Columns ``word`` (letters a to z), ``zipf_frequency``, ``length``.
        segmenter: The tokenizer's segmenter.
        tokens: The decoded vocabulary.

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
    cut = segmenter.segment(texts)
    ambiguity = segmenter.ambiguity(texts)
    repeated = np.tile(np.arange(len(listed)), len(WORD_FORMS))
    known = set(listed)
    is_listed = np.ones(len(texts), dtype=bool)
    is_listed[-len(listed) :] = [text[1:] in known for text in forms["plural"]]
    frame = words[["word", "zipf_frequency", "length"]].take(repeated).reset_index(drop=True)
    return frame.assign(
        form=pd.Categorical.from_codes(np.repeat(np.arange(len(WORD_FORMS)), len(listed)), pd.Index(WORD_FORMS)),
        text=pd.array(texts, dtype="str"),
        ids=split_rows(cut.ids, cut.offsets),
        pieces=pd.array(pieces_of(cut, tokens), dtype="str"),
        n_tokens=cut.n_tokens,
        ways=ambiguity.ways,
        fewest_tokens=ambiguity.fewest,
        shortest_ways=ambiguity.shortest_ways,
        splits_double_letter=splits_double_letter(cut, texts, tokens),
        letters_in_several_tokens=pd.array(letters_in_several_tokens(cut, tokens), dtype="str"),
        is_listed=is_listed,
    )


def split_rows(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Returns an object array of one array a row, as views of ``values``."""
    rows = np.empty(len(offsets) - 1, dtype=object)
    ends = offsets.tolist()
    for row in range(len(rows)):
        rows[row] = values[ends[row] : ends[row + 1]]
    return rows


def pieces_of(cut: Segmentation, tokens: TokenBytes) -> list[str]:
    """Returns the texts of the tokens of each text, with bars between."""
    used, places = np.unique(cut.ids, return_inverse=True)
    names = np.array([tokens[token].decode("utf-8", "replace") for token in used.tolist()], dtype=object)
    pieces, ends = names[places].tolist(), cut.offsets.tolist()
    return ["|".join(pieces[start:end]) for start, end in pairwise(ends)]


def splits_double_letter(cut: Segmentation, texts: Sequence[str], tokens: TokenBytes) -> np.ndarray:
    """Returns whether a border between tokens falls between two equal letters, as in ``ber|ry``.

    Args:
        cut: The segmentation of ``texts``.
        texts: Texts of ASCII letters and spaces.
        tokens: The decoded vocabulary.

    Returns:
        Bool, shape ``(texts,)``.
    """
    data = np.frombuffer("".join(texts).lower().encode(), dtype=np.uint8)
    # Tokens of a text spell it, so the ends of all tokens are places in the joined texts.
    borders = np.cumsum(tokens.lengths[cut.ids])
    inner = np.ones(len(borders), dtype=bool)
    inner[cut.offsets[1:] - 1] = False
    text_of = np.repeat(np.arange(len(texts)), cut.n_tokens)
    doubled = data[borders[inner] - 1] == data[borders[inner]]
    result = np.zeros(len(texts), dtype=bool)
    result[text_of[inner][doubled]] = True
    return result


def letters_in_several_tokens(cut: Segmentation, tokens: TokenBytes) -> list[str]:
    """Returns the letters that occur in more than one token of each text: counting them takes more than one token."""
    masks = letter_masks(tokens)[cut.ids]
    once = np.zeros(len(cut.offsets) - 1, dtype=np.int64)
    twice = np.zeros_like(once)
    n_tokens = cut.n_tokens
    for place in range(int(n_tokens.max(initial=0))):
        rows = np.flatnonzero(n_tokens > place)
        mask = masks[cut.offsets[:-1][rows] + place]
        twice[rows] |= once[rows] & mask
        once[rows] |= mask
    values, places = np.unique(twice, return_inverse=True)
    names = ["".join(chr(ord("a") + bit) for bit in range(_N_LETTERS) if value >> bit & 1) for value in values.tolist()]
    return [names[place] for place in places.tolist()]


def letter_masks(tokens: TokenBytes) -> np.ndarray:
    """Returns which letters each token holds, one bit a letter and no difference of case; int64, ``(tokens,)``."""
    bits = np.zeros(256, dtype=np.int64)
    for place in range(_N_LETTERS):
        bits[[ord("a") + place, ord("A") + place]] = 1 << place
    masks = np.zeros(len(tokens), dtype=np.int64)
    filled = np.flatnonzero(tokens.lengths)
    masks[filled] = np.bitwise_or.reduceat(bits[tokens.data], tokens.offsets[:-1][filled])
    return masks


def band_of(zipf_frequency: pd.Series[float], bands: Mapping[str, float]) -> pd.Categorical[str]:
    """Returns the frequency band of each word.

    Args:
        zipf_frequency: Zipf frequencies (log10 of occurrences in a thousand million words).
        bands: The lowest frequency of each band by name, the highest first.
    """
    names, floors = list(bands), list(bands.values())
    conditions = [zipf_frequency.to_numpy() >= floor for floor in floors]
    codes = np.select(conditions, list(range(len(names))), default=len(names) - 1)
    return pd.Categorical.from_codes(codes, pd.Index(names), ordered=True)
