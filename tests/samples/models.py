"""Small random models as folders: a base with the ids of its rows, and adapters that change what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.pretrain import PretrainSettings, new_model


def small_model(tokenizer: ChatTokenizer, ids: set[int], hidden_size: int = 32, layers: int = 2) -> LoadedModel:
    """Returns a model that knows these tokens, with the same weights each time."""
    settings = PretrainSettings(hidden_size=hidden_size, layers=layers)
    return new_model(np.array(sorted(ids)), tokenizer.end_id, settings)


def save_base(loaded: LoadedModel, target: Path) -> ModelFolder:
    """Writes a model before it has an adapter."""
    with new_folder(target, {}) as work:
        loaded.model.save_pretrained(str(work))
        (work / TOKEN_IDS_FILE).write_text(json.dumps(loaded.vocabulary.token_ids.tolist()))
    return ModelFolder(target)


def draw_adapter(model: Any, std: float = 1.0) -> None:
    """Draws what an adapter adds, which is nothing when it is new."""
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=std)


def save_adapter(model: Any, target: Path, **notes: Any) -> ModelFolder:
    """Writes an adapter alone."""
    with new_folder(target, notes) as work:
        model.save_pretrained(str(work))
    return ModelFolder(target)
