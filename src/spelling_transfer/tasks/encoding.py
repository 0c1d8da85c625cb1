"""Examples as token ids with their label span, and every token id that questions and answers can need.

The label span is the answer and the token that ends it, nothing else.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from spelling_transfer.tasks.arm_examples import (
    INDEXED_TEMPLATES,
    PLAIN_LINE,
    TOKEN_TEMPLATES,
    indexed_letters,
    letters_with_places,
)
from spelling_transfer.tasks.base import DEFAULT_SEPARATOR, LETTERS, SEPARATORS, Task
from spelling_transfer.tasks.examples import collection_paused
from spelling_transfer.tasks.mixture import REHEARSAL
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.randomness import random_for

KEPT = [
    "example_id",
    "task",
    "kind",
    "augmented",
    "template_held_out",
    "word",
    "stem",
    "split",
    "difficulty",
    "word_set",
]
_CHUNK = 50_000
"""Examples encoded at a time: the tokenizer's own objects take some kilobytes each."""
TOKENIZER_KEY = "tokenizer_sha256"
"""Where the frame names its tokenizer; the manifest uses the same name."""


def encode_examples(examples: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns the encoded examples: ids of prompt, answer and end token, and where the label span starts.

    The prompt is the one that evaluation and serving use (:meth:`ChatTokenizer.encode_prompts`). Its empty think block
    belongs to the prompt, so the label span, ``input_ids[label_start:]``, is exactly the answer and ``<|im_end|>``.
    Rehearsal has no prompt and is left out; :func:`encode_lines` encodes it where it is trained on.

    Args:
        examples: The examples frame.
        tokenizer: The tokenizer.

    Returns:
        The columns of :data:`KEPT`, ``input_ids`` (int32 arrays) and ``label_start`` (int32). The frame's ``attrs``
        name the tokenizer; Parquet keeps them, and the non-thinking policy asks for them.
    """
    with collection_paused():
        return _encode(examples[examples["kind"] != REHEARSAL].reset_index(drop=True), tokenizer)


def encode_lines(lines: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns plain lines as training takes them: ``example_id``, ``word``, ``input_ids`` and ``label_start``.

    Args:
        lines: Examples whose ``question`` is the text before the answer, outside the chat format.
        tokenizer: The tokenizer.
    """
    texts = tokenizer.encode_texts([*lines["question"], *lines["answer"]])
    starts, ends = texts[: len(lines)], texts[len(lines) :]
    ids = [np.array([*start, *end, tokenizer.end_id], dtype=np.int32) for start, end in zip(starts, ends, strict=True)]
    return pd.DataFrame(
        {
            "example_id": lines["example_id"].to_numpy(),
            "word": lines["word"].to_numpy(),
            "input_ids": pd.Series(ids, dtype=object),
            "label_start": np.array([len(start) for start in starts], dtype=np.int32),
        }
    )


def _encode(examples: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    codes, answers = pd.factorize(examples["answer"])  # most answers occur many times; each is encoded once
    labels = [[*ids, tokenizer.end_id] for ids in tokenizer.encode_texts(list(answers))]
    questions, words = examples["question"].tolist(), examples["word"].tolist()
    flat = array("i")
    ends: list[int] = []
    starts: list[int] = []
    for first in range(0, len(questions), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        for prompt, code in zip(tokenizer.encode_prompts(questions[chunk], words[chunk]), codes[chunk], strict=True):
            starts.append(len(prompt))
            flat.extend(prompt)
            flat.extend(labels[code])
            ends.append(len(flat))
    ids = np.frombuffer(flat, dtype=np.int32)
    encoded = examples[KEPT].copy()
    rows = [ids[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    encoded["input_ids"] = pd.Series(rows, index=encoded.index, dtype=object)
    encoded["label_start"] = np.array(starts, dtype=np.int32)
    encoded.attrs[TOKENIZER_KEY] = tokenizer.sha256
    return encoded


def vocabulary_in_use(words: Iterable[str], tasks: Mapping[str, Task], tokenizer: ChatTokenizer) -> set[int]:
    """Returns every token id that a prompt or a right answer can hold, over all words, wordings and separators.

    The tokenizer cuts text at the edges of a word, so the ids of a question are those of the word and those of the
    wording around it; only these two sets are encoded, not every pair of them.

    Args:
        words: Every word that may be asked about, in lower case.
        tasks: The tasks in use.
        tokenizer: The tokenizer.
    """
    words = list(words)
    forms = [*words, *(f" {word}" for word in words)]
    longest = max(map(len, words))
    # Words of one letter, repeated, bring every letter to every place and every count up to the longest word.
    probes = [letter * length for letter in LETTERS for length in {longest, min(longest, 2)}]
    probes += [LETTERS[0] * length for length in range(1, longest)]
    texts = {f"{separator}{letter}" for separator, _ in SEPARATORS.values() for letter in LETTERS}
    texts |= {f"{separator}{letter}".upper() for separator in ("", DEFAULT_SEPARATOR) for letter in LETTERS}
    for task in tasks.values():
        texts |= _texts_of(task, probes)
    texts |= {template.text.format(word="the") for template in (*TOKEN_TEMPLATES, *INDEXED_TEMPLATES)}
    texts |= {line(letter * longest) for letter in LETTERS for line in (letters_with_places, indexed_letters)}
    texts |= {PLAIN_LINE.format(word="the"), "\n"}
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
