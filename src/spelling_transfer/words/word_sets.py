"""The table of words: what is known of each, its family, its split and its word set.

Beside the real words stand strings of random letters. Test words whose tokens never occur in training are a set of
their own, and so are words whose spelling the embedded model was never told.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.families import bases, find_families, find_leaks, split_of
from spelling_transfer.words.randomness import key_of, random_for
from spelling_transfer.words.word_list import WordSelection, dictionary_words

WORD, RANDOM, TOKEN_HELD_OUT, UNKNOWN_SPELLING = "word", "random", "token_held_out", "unknown_spelling"
WORD_SETS = (WORD, RANDOM, TOKEN_HELD_OUT, UNKNOWN_SPELLING)

_BATCH = 500
_MOST_BATCHES = 12
"""Batches of random strings that are tried for each length."""


class LeakError(SpellingTransferError):
    """A word of one split is an inflection of a word of another."""


def without_lines(stem: str, share: float) -> bool:
    """Whether the families of this share that have no plain line include that of ``stem``; alike on every machine."""
    return key_of("without plain lines", stem) % 10_000 < share * 10_000


def describe_words(words: Iterable[str], tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns a frame with a row a word: its Zipf frequency, length, repeats and token ids, bare and after a space."""
    import wordfreq

    frame = pd.DataFrame({"word": list(words)})
    frame["zipf_frequency"] = [wordfreq.zipf_frequency(word, "en") for word in frame["word"]]
    frame["length"] = frame["word"].str.len().astype("int32")
    frame["ids_bare"] = _id_arrays(list(frame["word"]), tokenizer)
    frame["ids_spaced"] = _id_arrays([f" {word}" for word in frame["word"]], tokenizer)
    frame["n_tokens_bare"] = frame["ids_bare"].map(len).astype("int32")
    frame["n_tokens_spaced"] = frame["ids_spaced"].map(len).astype("int32")
    frame["repeated_letters"] = [len(set(word)) < len(word) for word in frame["word"]]
    return frame


def _id_arrays(texts: list[str], tokenizer: ChatTokenizer) -> pd.Series:
    return pd.Series([np.array(ids, dtype=np.int32) for ids in tokenizer.encode_texts(texts)], dtype=object)


def split_words(words: pd.DataFrame, tokenizer: ChatTokenizer, selection: WordSelection) -> pd.DataFrame:
    """Adds stem, split and word set to each word, and the random strings as rows of their own.

    Args:
        words: The frame of :func:`~spelling_transfer.words.word_sets.describe_words`.
        tokenizer: The tokenizer, for the random strings.
        selection: How many random strings, and their seed; the share of families of unknown spelling.

    Raises:
        LeakError: Two splits share an inflection, which would be a fault of this package.
    """
    dictionary = dictionary_words()
    stems = find_families(list(words["word"]), dictionary)
    frame = words.assign(stem=words["word"].map(stems))
    frame = frame.assign(split=frame["stem"].map(split_of), word_set=WORD)
    leaks = find_leaks(dict(zip(frame["word"], frame["split"], strict=True)), dictionary)
    if leaks:
        raise LeakError(f"{len(leaks)} pairs of words in different splits are inflections, for instance {leaks[:3]}.")
    frame.loc[frame["stem"].map(lambda stem: without_lines(stem, selection.without_lines)), "word_set"] = (
        UNKNOWN_SPELLING
    )
    frame.loc[_has_unseen_tokens_alone(frame), "word_set"] = TOKEN_HELD_OUT
    made = make_random_words(frame, tokenizer, selection.random_words, selection.seed)
    if made:
        extra = describe_words(made, tokenizer).assign(stem=made, split="test", word_set=RANDOM)
        frame = pd.concat([frame, extra], ignore_index=True)
    return frame


def tokens_in(words: pd.DataFrame) -> set[int]:
    """Returns the token ids that occur in words, bare or after a space."""
    return {token for column in ("ids_bare", "ids_spaced") for ids in words[column] for token in ids}


def without_tokens(words: pd.DataFrame, tokens: set[int]) -> np.ndarray:
    """Returns which words have none of these tokens, bare or after a space; bool, shape ``(words,)``."""
    pairs = zip(words["ids_bare"], words["ids_spaced"], strict=True)
    return np.array([tokens.isdisjoint(bare) and tokens.isdisjoint(spaced) for bare, spaced in pairs], dtype=bool)


def _has_unseen_tokens_alone(frame: pd.DataFrame) -> pd.Series:
    """Marks known test words that have no token of a training word."""
    is_test = (frame["split"] == "test") & (frame["word_set"] == WORD)
    return is_test & without_tokens(frame, tokens_in(frame[_is_trained(frame)]))


def _is_trained(frame: pd.DataFrame) -> pd.Series:
    return (frame["split"] == "train") & (frame["word_set"] == WORD)


def make_random_words(frame: pd.DataFrame, tokenizer: ChatTokenizer, count: int, seed: int) -> list[str]:
    """Returns strings of random letters that are no word, as far as they are found with the lengths of the test words.

    Every token of a string, bare and after a space, also occurs in a word of the list: a model has met the pieces, and
    of the whole it cannot have learnt anything. That makes strings of a short list few, most of them short, and "q"
    rare in them.

    Args:
        frame: The words with their split and token ids.
        tokenizer: The tokenizer.
        count: How many to make; fewer come back if not enough are found in reasonable time.
        seed: Seed of the letters.
    """
    dictionary = dictionary_words()
    related = {*frame["word"], *(base for word in frame["word"] for base in bases(word))}
    known_tokens = tokens_in(frame)
    lengths = sorted(frame.loc[frame["split"] == "test", "length"]) or sorted(frame["length"])
    wanted = Counter(random_for("lengths of random words", seed).choices(lengths, k=count))
    made: list[str] = []
    for length, number in sorted(wanted.items()):
        rng = random_for("random words", seed, length)
        found: dict[str, None] = {}
        for _ in range(_MOST_BATCHES):
            strings = ["".join(rng.choices(string.ascii_lowercase, k=length)) for _ in range(_BATCH)]
            encoded = tokenizer.encode_texts([*strings, *(f" {letters}" for letters in strings)])
            for letters, bare, spaced in zip(strings, encoded[:_BATCH], encoded[_BATCH:], strict=True):
                relatives = {letters, *bases(letters)}
                is_new = dictionary.isdisjoint(relatives) and related.isdisjoint(relatives)
                if is_new and known_tokens.issuperset(bare) and known_tokens.issuperset(spaced):
                    found[letters] = None
            if len(found) >= number:
                break
        made += list(found)[:number]
    return made


def describe_splits(frame: pd.DataFrame) -> dict[str, Any]:
    """Returns what a sceptic asks of the splits: their sizes, inflections across them, tokens they have in common."""
    sizes = frame.groupby(frame["word_set"] + "/" + frame["split"])["stem"].agg(["size", "nunique"])
    splits = dict(zip(frame["word"], frame["split"], strict=True))
    return {
        "words": {str(key): int(size) for key, size in sizes["size"].items()},
        "families": {str(key): int(size) for key, size in sizes["nunique"].items()},
        "inflections_across_splits": len(find_leaks(splits, dictionary_words())),
        "token_overlap_of_test_with_training": token_overlap(frame),
    }


def token_overlap(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Returns how much of the tokens of the test words training has met, for each word set and form.

    ``tokens_seen`` is the share of test tokens that occur in a training word, ``pairs_seen`` the share of pairs of
    neighbouring tokens, ``words_all_seen`` the share of test words all of whose tokens do.
    """
    trained = frame[_is_trained(frame)]
    report: dict[str, dict[str, float]] = {}
    for form in ("ids_bare", "ids_spaced"):
        seen = {token for ids in trained[form] for token in ids}
        seen_pairs = {pair for ids in trained[form] for pair in pairwise(ids)}
        for word_set, group in frame[frame["split"] == "test"].groupby("word_set"):
            tokens = [token for ids in group[form] for token in ids]
            pairs = [pair for ids in group[form] for pair in pairwise(ids)]
            report[f"{word_set}/{form.removeprefix('ids_')}"] = {
                "words": len(group),
                "tokens_seen": _share(sum(token in seen for token in tokens), len(tokens)),
                "pairs_seen": _share(sum(pair in seen_pairs for pair in pairs), len(pairs)),
                "words_all_seen": _share(sum(seen.issuperset(ids) for ids in group[form]), len(group)),
            }
    return report


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
