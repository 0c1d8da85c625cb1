"""What a lattice of tokens tells of a word: its byte-pair encoding, and in how many other ways it could be cut.

A lattice (:meth:`~spelling_transfer.tokenizer.trie.LetterTrie.lattice`) holds at ``[start, end, word]`` the state of
the trie after those letters of the word, from which the trie tells the token that they spell. All words of one lattice
have the same length.
"""

from __future__ import annotations

import numpy as np

from spelling_transfer.tokenizer.trie import NO_TOKEN, PLACE_BITS, LetterTrie

_PLACE_MASK = 2**PLACE_BITS - 1


def merge_pairs(trie: LetterTrie, lattice: np.ndarray) -> np.ndarray:
    """Cuts words into tokens by byte-pair encoding, where the id of a token is the rank of the merge that makes it.

    Each round merges, in every word at once, the neighbours that make the token with the lowest id, the leftmost of
    equals (Sennrich et al. 2016, section 3.2). A word that is a token is left whole: its merges end
    in it.

    Args:
        trie: The trie that the lattice was made with.
        lattice: Shape ``(length, length + 2, words)``.

    Returns:
        The id of the token that begins at each letter, -1 where none begins; int32, shape ``(length, words)``.
    """
    length, _, n_words = lattice.shape
    whole = trie.tokens(lattice[0, length])
    result = np.full((length, n_words), -1, dtype=np.int32)
    result[0] = whole >> PLACE_BITS
    words = np.flatnonzero(whole == NO_TOKEN)
    if len(words):
        _write_tokens(trie, lattice, words, _piece_ends(trie, lattice, words), result)
    return result


def _piece_ends(trie: LetterTrie, lattice: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Merges until nothing merges; returns where the piece that begins at a letter ends, ``(length + 1, words)``."""
    length, n_ends, n_words = lattice.shape
    n = len(words)
    # Flat arrays and take(), as indexing by several arrays costs five times as much.
    states = lattice.reshape(-1)
    after = np.repeat(np.arange(1, length + 2, dtype=np.int32), n)
    before = np.repeat(np.arange(-1, length, dtype=np.int32), n)
    # The token that a piece would make with the one behind it, and the place in the low bits: the minimum of a column
    # then names the place too, and the leftmost of equal tokens is the least. In NO_TOKEN all bits are set already.
    merged = np.full((length, n), NO_TOKEN, dtype=np.int32)
    for start in range(length - 1):
        merged[start] = trie.tokens(lattice[start, start + 2].take(words)) | start
    flat = merged.reshape(-1)
    while True:
        best = merged.min(axis=0)
        column = np.flatnonzero(best != NO_TOKEN)
        if not len(column):
            return after.reshape(length + 1, n)
        word = words.take(column)
        start = best.take(column) & _PLACE_MASK
        at_start = start * n + column
        at_middle = after.take(at_start) * n + column
        end = after.take(at_middle)
        at_end = end * n + column
        after[at_start], before[at_end] = end, start
        flat[at_middle] = NO_TOKEN
        made = trie.tokens(states.take((start * n_ends + after.take(at_end)) * n_words + word))
        flat[at_start] = made | start
        front = before.take(at_start)
        some = np.flatnonzero(front >= 0)
        front = front.take(some)
        made = trie.tokens(states.take((front * n_ends + end.take(some)) * n_words + word.take(some)))
        flat[front * n + column.take(some)] = made | front


def _write_tokens(
    trie: LetterTrie, lattice: np.ndarray, words: np.ndarray, after: np.ndarray, result: np.ndarray
) -> None:
    length, n_ends, n_words = lattice.shape
    states, ends, target = lattice.reshape(-1), after.reshape(-1), result.reshape(-1)
    target[words] = -1
    start, column = np.zeros(len(words), dtype=np.int64), np.arange(len(words))
    while len(column):
        end = ends.take(start * len(words) + column)
        word = words.take(column)
        made = trie.tokens(states.take((start * n_ends + end) * n_words + word))
        target[start * n_words + word] = made >> PLACE_BITS
        going = np.flatnonzero(end < length)
        start, column = end.take(going).astype(np.int64), column.take(going)


def count_ways(trie: LetterTrie, lattice: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts the ways to cut words into tokens, by dynamic programming over the letters.

    Args:
        trie: The trie that the lattice was made with.
        lattice: Shape ``(length, length + 2, words)``.

    Returns:
        For each word the number of ways, the fewest tokens (0 where there is no way), and the number of ways with so
        few; int64, each of shape ``(words,)``.
    """
    length, _, n_words = lattice.shape
    ways = np.zeros((length + 1, n_words), dtype=np.int64)
    fewest = np.full((length + 1, n_words), length + 1, dtype=np.int64)
    shortest_ways = np.zeros((length + 1, n_words), dtype=np.int64)
    ways[0], fewest[0], shortest_ways[0] = 1, 0, 1
    for end in range(1, length + 1):
        for start in range(end):
            fits = (trie.tokens(lattice[start, end]) != NO_TOKEN) & (ways[start] > 0)
            ways[end] += np.where(fits, ways[start], 0)
            n_tokens = np.where(fits, fewest[start] + 1, length + 2)
            better, equal = n_tokens < fewest[end], n_tokens == fewest[end]
            shortest_ways[end] = np.where(better, 0, shortest_ways[end]) + np.where(
                better | equal, shortest_ways[start], 0
            )
            fewest[end] = np.minimum(fewest[end], n_tokens)
    return ways[length], np.where(ways[length] > 0, fewest[length], 0), shortest_ways[length]
