"""A small random model that knows ten words, and examples to train it on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.pretrain import PretrainSettings, new_model

WORDS = ["cab", "bad", "dab", "fad", "bead", "deaf", "face", "cafe", "fade", "babe"]


def make_encoded(tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns the spelling of ten words as encoded examples."""
    prompts = tokenizer.encode_prompts([f"Spell {word}." for word in WORDS])
    answers = [[*ids, tokenizer.end_id] for ids in tokenizer.encode_texts([" ".join(word) for word in WORDS])]
    return pd.DataFrame(
        {
            "example_id": WORDS,
            "input_ids": [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)],
            "label_start": [len(prompt) for prompt in prompts],
        }
    )


def make_loaded(tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> LoadedModel:
    """Returns the model, with the same weights each time."""
    ids = {token for row in encoded["input_ids"] for token in row} | set(tokenizer.think_ids)
    settings = PretrainSettings(hidden_size=32, layers=2)
    return new_model(np.array(sorted(ids), dtype=np.int64), tokenizer.end_id, settings)


@pytest.fixture(scope="session")
def encoded(tokenizer: ChatTokenizer) -> pd.DataFrame:
    return make_encoded(tokenizer)


@pytest.fixture
def loaded(tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> LoadedModel:
    return make_loaded(tokenizer, encoded)
