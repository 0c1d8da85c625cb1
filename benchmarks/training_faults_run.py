"""The run that training_faults.py disturbs, in a module of its own so that a fork server can import it beforehand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import load_chat_tokenizer
from spelling_transfer.training.callbacks import EverySteps
from spelling_transfer.training.checkpoints import Checkpoints
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.pretrain import PretrainSettings, new_model
from spelling_transfer.training.run import train


def train_once(folder: Path, words: list[str], steps: int, every_steps: int) -> None:
    """Trains from the latest checkpoint in ``folder`` to the end, and writes losses and weights there."""
    tokenizer = load_chat_tokenizer()
    prompts = tokenizer.encode_prompts([f"Spell {word}." for word in words])
    answers = [[*ids, tokenizer.end_id] for ids in tokenizer.encode_texts([" ".join(word) for word in words])]
    encoded = pd.DataFrame(
        {
            "example_id": words,
            "input_ids": [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)],
            "label_start": [len(prompt) for prompt in prompts],
        }
    )
    ids = sorted({token for row in encoded["input_ids"] for token in row})
    loaded = new_model(np.array(ids), tokenizer.end_id, PretrainSettings(hidden_size=32, layers=2))
    torch.manual_seed(0)
    attach_lora(loaded, LoraSettings(r=4, alpha=8, dropout=0.2), ("q_proj", "v_proj"))
    examples = EncodedExamples(encoded, loaded.vocabulary, tokenizer.end_id)
    settings = TrainingSettings(
        learning_rate=3e-3, batch_size=3, grad_accum_steps=1, max_steps=steps, warmup_steps=2, threads=1
    )

    def note(step: int) -> None:
        (folder / "step").write_text(str(step))
        (folder / "training").touch()

    result = train(
        loaded,
        examples,
        settings,
        callbacks=[EverySteps(1, note)],
        checkpoints=Checkpoints(folder / "checkpoints", every_steps=every_steps),
    )
    weights = hashlib.sha256()
    for name, parameter in loaded.model.named_parameters():
        if "lora_" in name:
            weights.update(parameter.detach().numpy().tobytes())
    part = folder / "result.json.part"
    part.write_text(json.dumps({"losses": result.losses, "weights_sha256": weights.hexdigest()}))
    part.replace(folder / "result.json")
