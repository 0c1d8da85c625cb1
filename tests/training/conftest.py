"""A small random model that knows ten words, and examples to train it on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from tests.samples.models import small_model

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.checkpoints import Checkpoints
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.run import train

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
    return small_model(tokenizer, ids)


@pytest.fixture(scope="session")
def encoded(tokenizer: ChatTokenizer) -> pd.DataFrame:
    return make_encoded(tokenizer)


@pytest.fixture
def loaded(tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> LoadedModel:
    return make_loaded(tokenizer, encoded)


@pytest.fixture
def examples(loaded: LoadedModel, tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> EncodedExamples:
    frame = encoded.assign(word=WORDS, example_id=[f"spelling-{i}" for i in range(len(WORDS))])
    return EncodedExamples(frame, loaded.vocabulary, tokenizer.end_id)


def make_settings(**changes: Any) -> TrainingSettings:
    """Returns settings of a run of a moment."""
    shared = {"learning_rate": 1e-3, "batch_size": 4, "grad_accum_steps": 1, "max_steps": 6, "warmup_steps": 1}
    return TrainingSettings(**{"threads": 1, **shared, **changes})


def lora_losses(
    loaded: LoadedModel,
    examples: EncodedExamples,
    dropout: float = 0.0,
    *,
    folder: Path | None = None,
    callbacks: Sequence[Any] = (),
    **changes: Any,
) -> list[float]:
    """Returns the losses of a run that starts from the same adapter each time, with checkpoints in a folder."""
    start = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)
    torch.manual_seed(0)
    attach_lora(start, LoraSettings(r=4, alpha=8, dropout=dropout), ("q_proj", "v_proj"))
    settings = make_settings(**{"batch_size": 5, "grad_accum_steps": 2, "max_steps": 5, **changes})
    checkpoints = Checkpoints(folder, every_steps=3) if folder else None
    return train(start, examples, settings, callbacks=callbacks, checkpoints=checkpoints).losses
