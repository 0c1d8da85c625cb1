"""The letter tokens of a vocabulary as a trie that many words walk through at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spelling_transfer.tokenizer.byte_level import TokenBytes

PLACE_BITS = 5
"""Low bits that are left free beside a token's id, for the place of a letter in a word."""
LONGEST = 2**PLACE_BITS - 2
"""Letters of the longest word that fits into a lattice."""
NO_TOKEN = np.int32(2**31 - 1)
"""Stands for "no token" among shifted ids: larger than all of them, so a minimum passes over it, and all bits set."""

LOWER, UPPER, SPACE = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", " "
CODES = np.full(256, 255, dtype=np.uint8)
"""Code of each byte: 1 to 26 for a to z, then the capitals, then the space; 255 for what no word has."""
CODES[list(f"{LOWER}{UPPER}{SPACE}".encode())] = np.arange(1, len(LOWER) + len(UPPER) + len(SPACE) + 1)
_SPACE = CODES[ord(SPACE)]

# A row holds the token of its node and then the next row by code. A capital or a space can only follow the root or a
# leading space, so all other rows end after the small letters, which halves what has to fit into the cache.
_NARROW = 1 + len(LOWER)
_WIDE = _NARROW + len(UPPER) + len(SPACE)
_DEAD, _ROOT = 0, 1
_LETTERS_A_NUMBER = 10  # codes of six bits in 64


@dataclass(frozen=True)
class LetterTrie:
    """Tokens by their prefixes, for words of small letters of which the first may be a capital, after a space or not.

    Attributes:
        table: Rows of nodes, end to end; a state is where a node's row begins. State 0 is dead: it leads to itself.
        root: The state before the first letter.
    """

    table: np.ndarray
    root: int

    def lattice(self, codes: np.ndarray) -> np.ndarray:
        """Walks through the trie from every letter of every word.

        Args:
            codes: The words' letters as codes, one column a word, uint8, shape ``(length, words)``.

        Returns:
            At ``[start, end, word]`` the state after the letters from ``start`` up to ``end`` (exclusive); meaningless
            where ``end <= start``. The last ``end``, one past the word, is dead. int32, shape
            ``(length, length + 2, words)``.
        """
        length, n_words = codes.shape
        states = np.empty((length, length + 2, n_words), dtype=np.int32)
        states[:, length + 1] = _DEAD
        codes = codes.astype(np.int32)
        for start in range(length):
            self.table.take(codes[start] + self.root, out=states[start, start + 1], mode="clip")
            for end in range(start + 1, length):
                # A dead state stays dead, which is cheaper than to look for those that live.
                self.table.take(states[start, end] + codes[end], out=states[start, end + 1], mode="clip")
        return states

    def tokens(self, states: np.ndarray) -> np.ndarray:
        """Returns the token that each state spells: its id, shifted by ``PLACE_BITS``, or ``NO_TOKEN``; int32."""
        return self.table.take(states)


def fits_trie(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns which stretches are letters, of which only the first may be a capital, after one space or none.

    Args:
        codes: Codes of texts, end to end, uint8.
        starts: Where each stretch begins, below ``len(codes)``.
        ends: Where it ends (exclusive).

    Returns:
        Bool, shape ``(stretches,)``; false for empty stretches and lone spaces.
    """
    is_wrong = codes > CODES[ord("z")]
    leading = codes.take(starts) == _SPACE
    is_wrong[starts[leading & (ends > starts)]] = False
    first = np.minimum(starts + leading, len(codes) - 1)
    capital = (codes.take(first) > CODES[ord("z")]) & (codes.take(first) < _SPACE) & (first < ends)
    is_wrong[first[capital]] = False
    # Every second reduction is over a stretch, those between are over the gaps; the last end may be past the codes.
    borders = np.stack([starts, ends], axis=1).ravel()
    some_wrong = np.maximum.reduceat(np.append(is_wrong, True).view(np.uint8), borders)[::2]
    fits: np.ndarray = (some_wrong == 0) & (ends > starts + leading)
    return fits


def build_trie(tokens: TokenBytes) -> LetterTrie:
    """Builds the trie of the tokens that a word can hold, a lone space among them."""
    codes = CODES.take(tokens.data)
    starts, ends = tokens.offsets[:-1], tokens.offsets[1:]
    starts_inside = np.minimum(starts, len(codes) - 1)
    fits = fits_trie(codes, starts_inside, ends) | ((codes.take(starts_inside) == _SPACE) & (ends - starts == 1))
    selected = np.flatnonzero(fits & ~tokens.added)
    letters, lengths, order = _sorted_letters(codes, starts.take(selected), tokens.lengths.take(selected))
    ids = selected.take(order).astype(np.int32)
    # Sorted, all tokens with one prefix stand together, so a node begins where the letter or the parent changes.
    rows, node, n_nodes = np.arange(len(ids)), np.full(len(ids), _ROOT), _ROOT + 1
    parents, next_codes, last_nodes, last_ids = [], [], [], []
    for depth, letters_here in enumerate(letters):
        alive = lengths.take(rows) > depth
        rows, node = rows[alive], node[alive]
        letter = letters_here.take(rows)
        begins = np.ones(len(rows), dtype=bool)
        begins[1:] = (node[1:] != node[:-1]) | (letter[1:] != letter[:-1])
        parents.append(node[begins])
        next_codes.append(letter[begins])
        node = np.cumsum(begins) + (n_nodes - 1)
        n_nodes += len(parents[-1])
        done = lengths.take(rows) == depth + 1
        last_nodes.append(node[done])
        last_ids.append(ids.take(rows[done]))
    widths = np.full(n_nodes, _NARROW)
    widths[[_DEAD, _ROOT]] = _WIDE
    widths[_ROOT + 1 + np.flatnonzero(next_codes[0] == _SPACE)] = _WIDE
    states = np.cumsum(widths) - widths
    table = np.zeros(int(widths.sum()), dtype=np.int32)  # all steps lead to the dead state but for those set below
    table[states] = NO_TOKEN
    table[states.take(np.concatenate(last_nodes))] = np.concatenate(last_ids) << PLACE_BITS
    table[states.take(np.concatenate(parents)) + np.concatenate(next_codes)] = states[_ROOT + 1 :]
    return LetterTrie(table=table, root=int(states[_ROOT]))


def _sorted_letters(
    codes: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the codes of the tokens in alphabetical order, one row a place, then their lengths and the order."""
    letters = np.zeros((int(lengths.max(initial=1)), len(starts)), dtype=np.uint8)
    columns = np.arange(len(starts))
    for place, row in enumerate(letters):
        columns = columns[lengths.take(columns) > place]
        row[columns] = codes.take(starts.take(columns) + place)
    # Numbers of ten letters sort much faster than texts; the few that agree in them are put in order afterwards.
    first = _number(letters[:_LETTERS_A_NUMBER])
    order = np.argsort(first)
    equal = first.take(order[1:]) == first.take(order[:-1])
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    columns = order.take(tied)
    places = range(0, len(letters), _LETTERS_A_NUMBER)
    keys = [_number(letters[place : place + _LETTERS_A_NUMBER].take(columns, axis=1)) for place in places]
    order[tied] = columns.take(np.lexsort(keys[::-1]))
    return letters.take(order, axis=1), lengths.take(order), order


def _number(letters: np.ndarray) -> np.ndarray:
    """Returns numbers that are in the order of the letters, one row of codes a place; uint64."""
    number = np.zeros(letters.shape[1], dtype=np.uint64)
    for row in letters:
        number = number << np.uint64(6) | row.astype(np.uint64)
    return number << np.uint64(6 * (_LETTERS_A_NUMBER - len(letters)))
