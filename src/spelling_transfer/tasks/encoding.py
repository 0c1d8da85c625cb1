"""Turns examples into token ids with their label span: the answer and the token that ends it, nothing else."""

from __future__ import annotations

from array import array

import numpy as np
import pandas as pd

from spelling_transfer.tasks.garbage import collection_paused
from spelling_transfer.tokenizer.chat import ChatTokenizer

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

    Args:
        examples: The examples frame.
        tokenizer: The tokenizer.

    Returns:
        The columns of :data:`KEPT`, ``input_ids`` (int32 arrays) and ``label_start`` (int32). The frame's ``attrs``
        name the tokenizer; Parquet keeps them, and the non-thinking policy asks for them.
    """
    with collection_paused():
        return _encode(examples, tokenizer)


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
