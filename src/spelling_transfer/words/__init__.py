"""Which words are studied: the list, their families and splits, their word sets, how hard they are.

`select_words` reads the built-in list or a user's own; `describe_words` and `split_words` make the table of words, a
whole family of inflections in one split; `rate_difficulty` adds how hard each is to spell. Whatever is drawn at random
is drawn by `random_for`, from what it is drawn for and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

if TYPE_CHECKING:
    from spelling_transfer.words.difficulty import (
        LEVELS,
        DifficultySettings,
        model_scores,
        rate_difficulty,
        structural_score,
    )
    from spelling_transfer.words.families import bucket_of, find_families, find_leaks, split_of
    from spelling_transfer.words.randomness import key_of, random_for, shuffled
    from spelling_transfer.words.word_list import (
        WordListFile,
        WordSelection,
        clean_words,
        dictionary_words,
        select_words,
    )
    from spelling_transfer.words.word_sets import (
        RANDOM,
        TOKEN_HELD_OUT,
        UNKNOWN_SPELLING,
        WORD,
        WORD_SETS,
        describe_splits,
        describe_words,
        split_words,
        without_lines,
    )

__all__ = [
    "LEVELS",
    "RANDOM",
    "TOKEN_HELD_OUT",
    "UNKNOWN_SPELLING",
    "WORD",
    "WORD_SETS",
    "DifficultySettings",
    "WordListFile",
    "WordSelection",
    "bucket_of",
    "clean_words",
    "describe_splits",
    "describe_words",
    "dictionary_words",
    "find_families",
    "find_leaks",
    "key_of",
    "model_scores",
    "random_for",
    "rate_difficulty",
    "select_words",
    "shuffled",
    "split_of",
    "split_words",
    "structural_score",
    "without_lines",
]

_HOMES = {
    "difficulty": "LEVELS DifficultySettings model_scores rate_difficulty structural_score",
    "families": "bucket_of find_families find_leaks split_of",
    "randomness": "key_of random_for shuffled",
    "word_list": "WordListFile WordSelection clean_words dictionary_words select_words",
    "word_sets": "RANDOM TOKEN_HELD_OUT UNKNOWN_SPELLING WORD WORD_SETS describe_splits describe_words split_words "
    "without_lines",
}

__getattr__, __dir__ = lazy_names(__name__, {f"{__name__}.{home}": names.split() for home, names in _HOMES.items()})
