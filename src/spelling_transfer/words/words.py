"""The words of the study: which ones, what is known of each, and which token ids questions about them can need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from spelling_transfer.tasks.base import DEFAULT_SEPARATOR, LETTERS, SEPARATORS, Task
from spelling_transfer.tasks.randomness import random_for
from spelling_transfer.tasks.token_letters import TEMPLATES as TOKEN_TEMPLATES
from spelling_transfer.tasks.token_letters import letters_with_places
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.families import bases
from spelling_transfer.words.word_list import (
    Dropped,
    WordListError,
    WordListFile,
    clean_words,
    dictionary_words,
    frequent_words,
    parse_word_list,
)

BUILT_IN_LIST = WordListFile()


class WordSelection(BaseModel):
    """Which words are studied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top_words: int = Field(60_000, ge=100, le=300_000, description="Most frequent words of wordfreq to look at.")
    min_length: int = Field(3, ge=2, le=20, description="Fewest letters of a word.")
    max_length: int = Field(12, ge=2, le=20, description="Most letters of a word.")
    max_words: int | None = Field(None, ge=10, description="Keep only this many, the most frequent ones; all if null.")
    random_words: int = Field(1_000, ge=0, le=100_000, description="Strings of random letters to make as test words.")
    seed: int = Field(0, ge=0, description="Seed of the random strings.")

    @model_validator(mode="after")
    def _lengths_are_ordered(self) -> WordSelection:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length ({self.min_length}) must not be above max_length ({self.max_length})")
        return self


class SelectedWords(NamedTuple):
    """The words that are kept, the most frequent first, and what was left out."""

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
    return SelectedWords(words[: selection.max_words], dropped)


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


def vocabulary_in_use(
    words: Iterable[str], tasks: Mapping[str, Task], tokenizer: ChatTokenizer, *, case_variants: bool = False
) -> set[int]:
    """Returns every token id that a prompt or a right answer can hold, over all words, wordings and separators.

    The tokenizer cuts text at the edges of a word, so the ids of a question are those of the word and those of the
    wording around it; only these two sets are encoded, not every pair of them.

    Args:
        words: Every word that may be asked about, in lower case.
        tasks: The tasks in use.
        tokenizer: The tokenizer.
        case_variants: Whether capitalised and upper-case words are asked about too.
    """
    words = list(words)
    forms = [*words, *(f" {word}" for word in words)]
    if case_variants:
        cased = [form for word in words for form in (word.capitalize(), word.upper())]
        forms += [*cased, *(f" {form}" for form in cased)]
    longest = max(map(len, words))
    # Words of one letter, repeated, bring every letter to every place and every count up to the longest word.
    probes = [letter * length for letter in LETTERS for length in {longest, min(longest, 2)}]
    probes += [LETTERS[0] * length for length in range(1, longest)]
    texts = {f"{separator}{letter}" for separator, _ in SEPARATORS.values() for letter in LETTERS}
    texts |= {f"{separator}{letter}".upper() for separator in ("", DEFAULT_SEPARATOR) for letter in LETTERS}
    for task in tasks.values():
        texts |= _texts_of(task, probes)
    texts |= {template.text.format(word="the") for template in TOKEN_TEMPLATES}
    texts |= {letters_with_places(letter * longest) for letter in LETTERS}
    ids = {token for row in tokenizer.encode_texts([*forms, *sorted(texts)]) for token in row}
    return ids | {*tokenizer.prefix_ids, *tokenizer.suffix_ids, tokenizer.end_id, *tokenizer.think_ids}


def _texts_of(task: Task, probes: list[str]) -> set[str]:
    rng = random_for("vocabulary", task.name)
    texts = set()
    for probe in probes:
        for template in task.templates:
            for argument in task.arguments(probe, template):
                for separator, _ in SEPARATORS.values():
                    if separator != DEFAULT_SEPARATOR and not template.asks_separator:
                        continue
                    example = task.make(probe, rng, template=template, argument=argument, separator=separator)
                    texts.add(example.question.replace(probe, "the") if len(probe) > 1 else example.question)
                    if separator or example.answer != probe:
                        texts.add(example.answer)
    return texts
