"""What only a GPU shows: recorded answers, the slots of the endpoint and captured steps are those of the plain code.

Run on a machine that has one: ``SPELLING_GPU_TESTS=1 pytest tests/test_on_a_gpu.py``. All other tests hide GPUs, as
they compare to the bit what a GPU rounds otherwise.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from spelling_transfer.models import generate
from spelling_transfer.models.decode import Admission
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import Sampling, drawer, generate_answers
from spelling_transfer.models.kept_decoder import new_decoder
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.serving.batch import PreparedRequest, RunningBatch
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.pretrain import PretrainSettings, Trainer
from spelling_transfer.training.run import train

pytestmark = pytest.mark.skipif(
    "SPELLING_GPU_TESTS" not in os.environ, reason="needs a GPU: SPELLING_GPU_TESTS=1 pytest tests/test_on_a_gpu.py"
)
BASE = ModelFolder(Path(__file__).parents[1] / "data/01_raw/models/tiny-qwen3")
WORDS = ["cat", "table", "letter", "garden", "mountain", "sea", "history", "remember", "ask", "different", "house"]
QUESTIONS = [f"How do you spell {word}?" for word in WORDS] + [f"What is letter 2 of {word}?" for word in WORDS]
SAMPLING = Sampling(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0)


def load(device: str) -> LoadedModel:
    return load_model(BASE, ModelProfile(name="tiny-qwen3"), device=device)


@pytest.fixture(scope="module")
def prompts(tokenizer: ChatTokenizer) -> list[list[int]]:
    return tokenizer.encode_prompts(QUESTIONS)


@pytest.mark.parametrize("sampled", [False, True])
def test_answers_are_those_of_a_cpu_however_often_they_are_asked_for(
    tokenizer: ChatTokenizer, prompts: list[list[int]], sampled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    how: dict[str, Any] = {"sampling": SAMPLING, "seeds": list(range(len(prompts)))} if sampled else {}
    letters = [ids[0] for ids in tokenizer.encode_texts([f" {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"])]
    on_gpu, on_cpu = load("cuda"), load("cpu")
    for subset in (None, letters):
        expected = generate_answers(on_cpu, tokenizer, prompts, allowed_ids=subset, **how)
        for _ in range(4):  # started one by one, recorded, replayed
            assert generate_answers(on_gpu, tokenizer, prompts, batch_size=16, allowed_ids=subset, **how) == expected
    assert "without CUDA graphs" not in caplog.text


def test_new_weights_change_what_all_prompts_begin_with_too(
    tokenizer: ChatTokenizer, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load("cuda")
    generate_answers(loaded, tokenizer, prompts)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.mul_(1.0 + 0.2 * torch.rand_like(weight))
    found = generate_answers(loaded, tokenizer, prompts)
    monkeypatch.setattr(generate, "_in_slots", lambda _: False)
    assert found == generate_answers(loaded, tokenizer, prompts)


def test_requests_that_come_one_after_another_are_answered_as_on_a_cpu(
    tokenizer: ChatTokenizer, prompts: list[list[int]]
) -> None:
    found = []
    for device in ("cpu", "cuda"):
        loaded = load(device)
        rows = loaded.vocabulary
        end_row = int(rows.to_rows([tokenizer.end_id])[0])
        head = generate.answer_head(loaded, tokenizer, None)[0]
        prefix = rows.to_rows(tokenizer.prefix_ids)
        decoder = new_decoder(loaded, head, drawer(SAMPLING), slots=16, new_tokens=32, end_row=end_row, prefix=prefix)
        batch = RunningBatch(decoder, rows.to_rows, rows.to_ids, end_row)
        answers: dict[tuple[str, int], list[int]] = {}
        for n_steps, i in enumerate((1, 4, 9, 2, 12, 3, 8, 6, 5, 15)):
            batch.add(str(i), PreparedRequest(prompts[i], max_tokens=24 if i % 2 else 1, seed=i, n=1 + i % 6))
            for _ in range(1 + n_steps % 3):
                answers |= {(one.name, answer.index): list(answer.ids) for one, answer in batch.step()}
        while batch.busy:
            answers |= {(one.name, answer.index): list(answer.ids) for one, answer in batch.step()}
        found.append(answers)
    assert found[0] == found[1]


@torch.inference_mode()
def test_slots_that_are_widened_answer_as_before(tokenizer: ChatTokenizer, prompts: list[list[int]]) -> None:
    found = []
    for device in ("cpu", "cuda"):
        loaded = load(device)
        rows = [loaded.vocabulary.to_rows(prompt) for prompt in prompts]
        prefix = loaded.vocabulary.to_rows(tokenizer.prefix_ids)
        head = generate.answer_head(loaded, tokenizer, None)[0]
        decoder = new_decoder(loaded, head, generate._best, slots=16, new_tokens=300, end_row=-1, prefix=prefix)
        said = []
        for turn in range(12):  # steps and passes over prompts are recorded by then
            decoder.admit([Admission(turn % 4, rows[0], None, 24)])
            said.append(decoder.step()[0][turn % 4])
        for limit in (200, 290, 24, 24):
            decoder.admit([Admission(5, rows[1], None, limit)])
            said += [decoder.step(logprobs=True)[0][5] for _ in range(4)]
        assert decoder.size.columns > 256
        found.append(said)
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def encoded(tokenizer: ChatTokenizer) -> pd.DataFrame:
    asked = tokenizer.encode_prompts([f"Spell {word}." for word in WORDS])
    said = [[*ids, tokenizer.end_id] for ids in tokenizer.encode_texts([" ".join(word) for word in WORDS])]
    rows = [prompt + answer for prompt, answer in zip(asked, said, strict=True)]
    return pd.DataFrame(
        {"example_id": WORDS, "word": WORDS, "input_ids": rows, "label_start": [len(prompt) for prompt in asked]}
    )


@pytest.fixture
def losses(tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> Callable[..., list[float]]:
    base = load("cuda")

    def run(**changes: Any) -> list[float]:
        start = LoadedModel(copy.deepcopy(base.model), base.vocabulary)
        torch.manual_seed(0)
        attach_lora(start, LoraSettings(r=4, alpha=8, dropout=0.0), ("q_proj", "v_proj"))
        examples = EncodedExamples(encoded, base.vocabulary, tokenizer.end_id)
        shared = {"learning_rate": 1e-3, "batch_size": 8, "grad_accum_steps": 1, "max_steps": 8, "warmup_steps": 1}
        found = train(start, examples, TrainingSettings(**{"precision": "fp32", **shared, **changes})).losses
        assert {weight.device.type for weight in start.model.parameters()} == {"cuda"}  # where it came from
        return found

    return run


def test_captured_steps_are_the_eager_ones(losses: Callable[..., list[float]]) -> None:
    captured = losses()
    assert captured[-1] < captured[0]
    assert captured == pytest.approx(losses(cuda_graphs=False), abs=1e-4)
    assert captured == pytest.approx(losses(batch_size=2, grad_accum_steps=4), abs=1e-4)
    assert captured == pytest.approx(losses(precision="bf16"), rel=0.05)


def test_each_stage_of_pretraining_records_its_steps() -> None:
    trainer = Trainer(load("cuda").model.train(), PretrainSettings(), np.arange(100))
    rows = torch.arange(128).reshape(2, 64) % 100
    for go_on in (trainer.widen, trainer.restart, trainer.widen):
        losses = [float(trainer.step(rows, rows > 0, torch.arange(64).expand(2, -1), 1e-3)) for _ in range(6)]
        assert losses[-1] < losses[0]
        go_on()


def test_compiled_layers_take_the_same_steps(
    losses: Callable[..., list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_module = torch.nn.Module.compile
    traced = lambda module, **options: compile_module(module, backend="eager", **options)  # noqa: E731
    monkeypatch.setattr(torch.nn.Module, "compile", traced)  # traced but not generated: that takes a minute
    assert losses(compile=True, max_steps=3) == pytest.approx(losses(max_steps=3), abs=1e-4)
