"""Which strings of letters begin a listed word, or stand anywhere in one, and in which word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_BITS = 5
_LETTERS = 12
"""Letters that fit into one number of 64 bits; a word's parts are compared by numbers, which sort fast."""

_CODES = np.zeros(256, dtype=np.uint64)
_CODES[ord("a") : ord("z") + 1] = np.arange(1, 27)


@dataclass(frozen=True)
class Found:
    """Where each string was found.

    Attributes:
        in_words: Whether a listed word holds the string, bool, shape ``(strings,)``.
        words: A word that does; empty where none does.
    """

    in_words: np.ndarray
    words: list[str]


class WordParts:
    """An index of words by their beginnings and by all their parts.

    Args:
        words: Words of the letters a to z.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = sorted(set(words))
        # Longer strings than a number holds are rare, so they are looked for in the words that can hold them.
        self._long_words = "\n".join(word for word in self._words if len(word) > _LETTERS)
        numbers, word_places = _numbers(self._words)
        letters = numbers > 0
        order = np.argsort(numbers[letters], kind="stable")
        self._parts = numbers[letters][order], word_places[letters][order]
        firsts = np.concatenate(([0], np.cumsum([len(word) + 1 for word in self._words[:-1]]))).astype(np.int64)
        order = np.argsort(numbers[firsts], kind="stable") if self._words else np.empty(0, dtype=np.int64)
        self._beginnings = numbers[firsts[: len(self._words)]][order], order

    def beginning_with(self, strings: Sequence[str]) -> Found:
        """Looks for words that begin with each string of the letters a to z."""
        return self._find(strings, *self._beginnings, prefix="\n")

    def holding(self, strings: Sequence[str]) -> Found:
        """Looks for words that hold each string of the letters a to z anywhere."""
        return self._find(strings, *self._parts, prefix="")

    def _find(self, strings: Sequence[str], keys: np.ndarray, places: np.ndarray, prefix: str) -> Found:
        if not len(keys):
            return Found(np.zeros(len(strings), dtype=bool), [""] * len(strings))
        lengths = np.fromiter(map(len, strings), dtype=np.int64, count=len(strings))
        starts = np.concatenate(([0], np.cumsum(lengths[:-1] + 1)))
        wanted = _numbers(strings)[0][starts]
        # Sorted, whatever begins with the string stands between its number and the next string of that length.
        span = np.uint64(1) << (_BITS * np.maximum(_LETTERS - lengths, 0)).astype(np.uint64)
        at = np.searchsorted(keys, wanted)
        found = keys[np.minimum(at, len(keys) - 1)]
        inside = (at < len(keys)) & (found >= wanted) & (found < wanted + span) & (lengths <= _LETTERS) & (lengths > 0)
        words = np.where(inside, places[np.minimum(at, len(keys) - 1)], -1).tolist()
        texts = [self._words[word] if word >= 0 else "" for word in words]
        for place in np.flatnonzero(lengths > _LETTERS).tolist():
            texts[place] = self._find_long(strings[place], prefix)
            inside[place] = bool(texts[place])
        return Found(inside, texts)

    def _find_long(self, string: str, prefix: str) -> str:
        text = f"\n{self._long_words}\n"
        at = text.find(prefix + string)
        if at < 0:
            return ""
        start = text.rfind("\n", 0, at + len(prefix)) + 1
        return text[start : text.index("\n", start)]


def _numbers(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for each letter of each word and a gap behind every word, the number of the letters from there on.

    Returns:
        The numbers, uint64, 0 at the gaps, and the place of each letter's word; both of shape ``(letters + words,)``.
    """
    codes = _CODES.take(np.frombuffer(("\n".join(words) + "\n").encode(), dtype=np.uint8))
    numbers = np.zeros(len(codes), dtype=np.uint64)
    alive = np.ones(len(codes), dtype=bool)
    padded = np.concatenate((codes, np.zeros(_LETTERS, dtype=np.uint64)))
    for place in range(_LETTERS):
        letters = padded[place : place + len(codes)]
        alive &= letters > 0
        numbers |= np.where(alive, letters << np.uint64(_BITS * (_LETTERS - 1 - place)), np.uint64(0))
    word_places = np.cumsum(codes == 0) - (codes == 0)
    return numbers, word_places
