"""Many words as one array of letter codes, ready to be looked up together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from spelling_transfer.tokenizer.trie import CODES, LONGEST, fits_trie

_CHUNK_WORDS = 32_768  # enough for the calls not to count, few enough for their lattice to stay small
_SEPARATOR = 0x0A


class WordCodes:
    """Texts as codes of the trie's alphabet.

    Args:
        texts: Any texts.

    Attributes:
        others: Places of the texts that cannot be looked up (see :func:`fits_trie`) or are too long, ascending.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        data, ends = _joined(texts)
        if len(ends) != len(texts):
            data, ends = _joined(["?" if "\n" in text else text for text in texts])
        self._codes = CODES.take(data)
        self._starts = np.concatenate(([0], ends + 1))[:-1]
        lengths = ends - self._starts
        fits = fits_trie(self._codes, self._starts, ends) & (lengths <= LONGEST)
        self._lengths = np.where(fits, lengths, 0).astype(np.uint8)
        self.others = np.flatnonzero(~fits)

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields the places of the texts that can be looked up, some thousands of one length at a time."""
        by_length = np.argsort(self._lengths, kind="stable")[len(self.others) :]
        borders = np.cumsum(np.bincount(self._lengths.take(by_length)))
        for begin, end in pairwise(borders.tolist()):
            for start in range(begin, end, _CHUNK_WORDS):
                yield by_length[start : min(start + _CHUNK_WORDS, end)]

    def columns(self, rows: np.ndarray) -> np.ndarray:
        """Returns the codes of texts of one length, one column a text; uint8, shape ``(length, texts)``."""
        letters = np.arange(self._lengths[rows[0]])
        return self._codes.take(self._starts.take(rows) + letters[:, None])


def _joined(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bytes of all texts with a newline behind each, and where the newlines are."""
    joined = "\n".join([*texts, ""])
    data = np.frombuffer(joined.encode("utf-8", "replace"), dtype=np.uint8)
    return data, np.flatnonzero(data == _SEPARATOR)
