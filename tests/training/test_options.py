from __future__ import annotations

import copy
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.errors import DeviceError
from spelling_transfer.training.optimization import make_optimizer, make_schedule
from spelling_transfer.training.options import training_options
from spelling_transfer.training.precision import check_weights, lightning_precision
from spelling_transfer.training.run import train


def settings(**changes: Any) -> TrainingSettings:
    shared: dict[str, Any] = {
        "learning_rate": 1e-3,
        "batch_size": 5,
        "grad_accum_steps": 2,
        "max_steps": 5,
        "warmup_steps": 1,
        "threads": 1,
    }
    return TrainingSettings(**{**shared, **changes})


@pytest.fixture
def examples(loaded: LoadedModel, tokenizer: ChatTokenizer, encoded: pd.DataFrame) -> EncodedExamples:
    return EncodedExamples(encoded, loaded.vocabulary, tokenizer.end_id)


def losses(loaded: LoadedModel, examples: EncodedExamples, **changes: Any) -> list[float]:
    start = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)
    torch.manual_seed(0)
    attach_lora(start, LoraSettings(r=4, alpha=8, dropout=0.0), ("q_proj", "v_proj"))
    return train(start, examples, settings(**changes)).losses


@pytest.mark.parametrize(("optimizer", "rate"), [("adamw", 1e-3), ("adafactor", 1e-2), ("sgd", 1e-2)])
def test_each_optimiser_lowers_the_loss(
    loaded: LoadedModel, examples: EncodedExamples, optimizer: str, rate: float
) -> None:
    # All ten examples make each step, so that the losses of two steps can be compared.
    curve = losses(loaded, examples, optimizer=optimizer, learning_rate=rate, max_steps=8)
    assert curve[-1] < curve[0]


def test_sgd_uses_its_momentum() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer([weight], settings(optimizer="sgd", learning_rate=1e-2, momentum=0.5), fused=True)
    for _ in range(2):
        weight.grad = torch.ones(1)
        optimizer.step()
    assert weight.item() == pytest.approx(-1e-2 * (1 + 1.5))


def rates(schedule: str, **changes: Any) -> list[float]:
    chosen = settings(schedule=schedule, **{"max_steps": 20, "warmup_steps": 4, **changes})
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], chosen, fused=True)
    scheduler = make_schedule(optimizer, chosen)
    found = []
    for _ in range(chosen.max_steps):
        found.append(optimizer.param_groups[0]["lr"] / chosen.learning_rate)
        optimizer.step()
        scheduler.step()
    return found


def test_schedules_warm_up_and_fall_as_their_names_say() -> None:
    assert rates("constant")[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates("linear")[-1] == pytest.approx(1 / 16)
    assert rates("cosine")[12] == pytest.approx(0.5)
    assert max(rates("cosine")) == pytest.approx(1.0)
    stable = rates("warmup_stable_decay")
    assert stable[4:17] == pytest.approx([1.0] * 13)  # the last fifth of sixteen steps falls
    assert stable[17] > stable[18] > stable[19]
    for schedule in ("polynomial", "cosine_with_restarts", "inverse_sqrt"):
        found = rates(schedule)
        assert max(found) == pytest.approx(1.0)
        assert found[-1] < 0.5


def test_checkpointed_gradients_take_the_same_steps(loaded: LoadedModel, examples: EncodedExamples) -> None:
    assert losses(loaded, examples, gradient_checkpointing=True) == pytest.approx(losses(loaded, examples), rel=1e-6)


def test_checkpointing_computes_layers_again_and_is_off_after_the_run(loaded: LoadedModel) -> None:
    layer = loaded.model.model.layers[0].mlp
    calls = 0
    forward = layer.forward

    def count(*arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return forward(*arguments)

    layer.forward = count
    loaded.model.train()
    ids = torch.zeros((1, 4), dtype=torch.long)
    with training_options(loaded.model, settings(gradient_checkpointing=True)):
        loaded.model(input_ids=ids, use_cache=False).logits.sum().backward()
        assert calls == 2
    loaded.model(input_ids=ids, use_cache=False).logits.sum().backward()
    assert calls == 3


def test_compiled_layers_take_the_same_steps_and_are_plain_afterwards(
    loaded: LoadedModel, examples: EncodedExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = 0
    compile_module = torch.nn.Module.compile

    def without_code_generation(module: torch.nn.Module, **options: Any) -> None:
        nonlocal compiled
        compiled += 1
        compile_module(module, backend="eager", **options)  # traced but not generated: that takes a minute

    monkeypatch.setattr(torch.nn.Module, "compile", without_code_generation)
    expected = losses(loaded, examples, max_steps=2)
    assert losses(loaded, examples, max_steps=2, compile=True) == pytest.approx(expected, rel=1e-5)
    assert compiled == len(loaded.model.model.layers)
    with training_options(loaded.model, settings(compile=True)):
        pass
    assert all(layer._compiled_call_impl is None for layer in loaded.model.model.layers)


def test_a_compiler_that_fails_is_named(
    loaded: LoadedModel, examples: EncodedExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_module = torch.nn.Module.compile

    def without_compiler(module: torch.nn.Module, **options: Any) -> None:
        def fail(*_: Any) -> None:
            raise OSError("g++: command not found")

        compile_module(module, backend=fail, **options)

    monkeypatch.setattr(torch.nn.Module, "compile", without_compiler)
    with pytest.raises(DeviceError, match=r"training.compile: .*g\+\+: command not found.*Set it to false"):
        losses(loaded, examples, max_steps=1, compile=True)


def test_bf16_runs_on_a_cpu_and_stays_near_fp32(loaded: LoadedModel, examples: EncodedExamples) -> None:
    exact = losses(loaded, examples, precision="fp32")
    rounded = losses(loaded, examples, precision="bf16")
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)  # bf16 has eight bits


@pytest.mark.parametrize(
    ("asked", "device", "native", "expected"),
    [
        ("auto", "cpu", False, "32-true"),
        ("auto", "mps", False, "32-true"),
        ("auto", "cuda", True, "bf16-mixed"),
        ("auto", "cuda", False, "16-mixed"),  # a T4
        ("fp16", "cuda", True, "16-mixed"),
        ("bf16", "cpu", False, "bf16-mixed"),
        ("fp32", "cuda", True, "32-true"),
    ],
)
def test_precision_follows_the_device(
    monkeypatch: pytest.MonkeyPatch, asked: Any, device: str, native: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert lightning_precision(asked, device) == expected


def test_bf16_is_refused_where_it_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(DeviceError, match=r"training.precision: bf16 is not native to Tesla T4.*fp16"):
        lightning_precision("bf16", "cuda")


def test_float16_weights_are_not_trained(loaded: LoadedModel) -> None:
    with pytest.raises(DeviceError, match="float16"):
        check_weights(loaded.model.half(), "32-true")
    loaded.model.requires_grad_(False)
    check_weights(loaded.model, "32-true")


def test_an_eight_bit_optimiser_comes_from_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    weight = torch.nn.Parameter(torch.zeros(1))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(DeviceError, match=r"needs bitsandbytes.*\[cuda\]"):
        make_optimizer([weight], settings(optimizer="adamw_8bit"), fused=True)
    module = ModuleType("bitsandbytes")
    module.optim = SimpleNamespace(AdamW8bit=torch.optim.AdamW)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bitsandbytes", module)
    optimizer = make_optimizer([weight], settings(optimizer="adamw_8bit", weight_decay=0.1), fused=True)
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-3, 0.1)
