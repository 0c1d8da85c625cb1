"""Words into tokens, thousands at a time: byte-pair encoding on lattices of the tokens that the words could hold.

``tokenizers`` takes some microseconds a word even in batches; here all words of a length are merged together. It is
exact where a token's id is its rank among the merges, which holds for Qwen3: the pair to merge next is then the
neighbours that together make the token with the lowest id. A test holds the result equal to that of ``tokenizers``
for every word of the list in every form.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from spelling_transfer.tokenizer.byte_level import TokenBytes
from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, ChatTokenizer
from spelling_transfer.tokenizer.lattice import count_ways, merge_pairs
from spelling_transfer.tokenizer.trie import LetterTrie, build_trie
from spelling_transfer.tokenizer.word_codes import WordCodes

_THREADS = 2


@dataclass(frozen=True)
class Segmentation:
    """The tokens of many texts, end to end.

    Attributes:
        ids: Token ids of all texts, int32.
        offsets: Where each text's tokens begin, int64, shape ``(texts + 1,)``.
    """

    ids: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of_lists(cls, rows: Sequence[Sequence[int]]) -> Segmentation:
        """Puts lists of token ids end to end."""
        counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        ids = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=int(counts.sum()))
        return cls(ids=ids, offsets=np.concatenate(([0], np.cumsum(counts))))

    @classmethod
    def of_arrays(cls, rows: Sequence[np.ndarray]) -> Segmentation:
        """Puts arrays of token ids end to end."""
        counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        ids = np.concatenate([np.empty(0, dtype=np.int32), *rows]).astype(np.int32)
        return cls(ids=ids, offsets=np.concatenate(([0], np.cumsum(counts))))

    @property
    def n_tokens(self) -> np.ndarray:
        """Number of tokens of each text, int32, shape ``(texts,)``."""
        return np.diff(self.offsets).astype(np.int32)

    def to_lists(self) -> list[list[int]]:
        """Returns the token ids of each text as lists."""
        ids, ends = self.ids.tolist(), self.offsets.tolist()
        return [ids[start:end] for start, end in pairwise(ends)]


@dataclass(frozen=True)
class Ambiguity:
    """How else texts could be cut into tokens of the vocabulary.

    Attributes:
        ways: Number of ways to cut each text, int64, shape ``(texts,)``.
        fewest: Number of tokens of its shortest way, int32; 0 where there is none.
        shortest_ways: Number of ways with so few tokens, int64.
    """

    ways: np.ndarray
    fewest: np.ndarray
    shortest_ways: np.ndarray


class WordSegmenter:
    """Cuts words into tokens.

    Args:
        tokenizer: The tokenizer; with any other than the pinned Qwen3 one every word goes through it.
        tokens: Its decoded vocabulary.
    """

    def __init__(self, tokenizer: ChatTokenizer, tokens: TokenBytes) -> None:
        self._tokenizer = tokenizer
        self._tokens = tokens
        self._ids_are_ranks = tokenizer.sha256 == QWEN3_TOKENIZER_SHA256

    @cached_property
    def trie(self) -> LetterTrie:
        """The tokens that a word can hold."""
        return build_trie(self._tokens)

    def segment(self, texts: Sequence[str]) -> Segmentation:
        """Returns the tokens of each text, as the tokenizer would cut it standing alone."""
        if not self._ids_are_ranks:
            return Segmentation.of_lists(self._tokenizer.encode_texts(texts))
        words = WordCodes(texts)
        trie, chunks = self.trie, list(words.chunks())
        with ThreadPoolExecutor(_THREADS) as pool:  # numpy lets go of the interpreter's lock
            parts = list(pool.map(lambda rows: _segment_chunk(trie, words.columns(rows)), chunks))
        others = Segmentation.of_lists(self._tokenizer.encode_texts([texts[row] for row in words.others.tolist()]))
        places = [words.others, *chunks]
        parts = [(others.ids, others.n_tokens), *parts]
        n_tokens = np.zeros(len(texts), dtype=np.int64)
        for rows, (_, counts) in zip(places, parts, strict=True):
            n_tokens[rows] = counts
        offsets = np.concatenate(([0], np.cumsum(n_tokens)))
        ids = np.empty(offsets[-1], dtype=np.int32)
        for rows, (chunk_ids, counts) in zip(places, parts, strict=True):
            ids[_places(offsets.take(rows), counts)] = chunk_ids
        return Segmentation(ids=ids, offsets=offsets)

    def ambiguity(self, texts: Sequence[str]) -> Ambiguity:
        """Counts the ways to cut each text; texts of more than letters, or too long ones, have none."""
        words = WordCodes(texts)
        ways, fewest, shortest_ways = (np.zeros(len(texts), dtype=np.int64) for _ in range(3))
        for rows in words.chunks():
            lattice = self.trie.lattice(words.columns(rows))
            ways[rows], fewest[rows], shortest_ways[rows] = count_ways(self.trie, lattice)
        return Ambiguity(ways=ways, fewest=fewest.astype(np.int32), shortest_ways=shortest_ways)


def _segment_chunk(trie: LetterTrie, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the token ids of words of one length, end to end, and how many each word has."""
    tokens = merge_pairs(trie, trie.lattice(codes))
    in_order = tokens.T.ravel()
    return in_order[in_order >= 0], (tokens >= 0).sum(axis=0, dtype=np.int32)


def _places(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns ``starts[0], starts[0] + 1, …`` for each start, as many as its count says."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(ends[-1] if len(ends) else 0)
