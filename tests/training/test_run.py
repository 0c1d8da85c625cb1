from __future__ import annotations

import copy
from typing import Any

import pandas as pd
import pytest
import torch

from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.callbacks import EverySteps
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.module import TrainingDivergedError
from spelling_transfer.training.run import train


def settings(**changes: Any) -> TrainingSettings:
    shared: dict[str, Any] = {
        "learning_rate": 3e-3,
        "batch_size": 10,
        "grad_accum_steps": 1,
        "max_steps": 4,
        "warmup_steps": 1,
        "threads": 1,
    }
    return TrainingSettings(**{**shared, **changes})


@pytest.fixture
def examples(loaded: LoadedModel, tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> EncodedExamples:
    return EncodedExamples(encoded, loaded.vocabulary, tokenizer.end_id)


def test_a_model_learns_to_spell_what_it_is_shown(
    loaded: LoadedModel, examples: EncodedExamples, tokenizer: ChatTokenizer, encoded: pd.DataFrame
) -> None:
    train(loaded, examples, settings(max_steps=150, learning_rate=1e-2))
    prompts = [ids[:start] for ids, start in zip(encoded["input_ids"], encoded["label_start"], strict=True)]
    answers = generate_answers(loaded, tokenizer, prompts)
    assert [tokenizer.decode(ids) for ids in answers] == [" ".join(word) for word in encoded["example_id"]]


def test_gradients_do_not_depend_on_how_a_step_is_cut(loaded: LoadedModel, examples: EncodedExamples) -> None:
    weights = []
    for batch_size, accumulate in ((10, 1), (1, 10), (5, 2)):
        same_start = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)
        train(same_start, examples, settings(batch_size=batch_size, grad_accum_steps=accumulate, max_steps=3))
        weights.append(torch.cat([p.detach().flatten() for p in same_start.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(weights[0], weights[2], atol=2e-4, rtol=1e-3)


def test_the_same_seed_gives_the_same_losses(loaded: LoadedModel, examples: EncodedExamples) -> None:
    def run(seed: int) -> list[float]:
        same_start = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)
        return train(same_start, examples, settings(seed=seed, batch_size=4, max_steps=6)).losses

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_lora_trains_the_adapter_alone(loaded: LoadedModel, examples: EncodedExamples) -> None:
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    model = attach_lora(loaded, LoraSettings(r=4, alpha=8, dropout=0.0), ("q_proj", "v_proj"))
    train(loaded, examples, settings(max_steps=3))
    lora = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert all(bool(p.abs().sum() > 0) for p in lora)
    loaded.model = model.unload()  # type: ignore[operator]
    for name, p in loaded.model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name], rtol=0, atol=0)


def test_a_callback_may_stop_the_run(loaded: LoadedModel, examples: EncodedExamples) -> None:
    seen: list[int] = []

    def look(step: int) -> bool:
        seen.append(step)
        return step >= 4

    result = train(loaded, examples, settings(max_steps=20), callbacks=[EverySteps(2, look)])
    assert seen == [2, 4]
    assert result.steps == 4


def test_a_loss_that_is_no_number_stops_the_run(loaded: LoadedModel, examples: EncodedExamples) -> None:
    with torch.no_grad():
        next(loaded.model.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingDivergedError, match=r"step 0 \(learning_rate 0.003\)"):
        train(loaded, examples, settings())
