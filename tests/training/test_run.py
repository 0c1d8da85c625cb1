from __future__ import annotations

import copy
import gc
import signal
import weakref
from functools import partial
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training import run as run_module
from spelling_transfer.training.callbacks import EverySteps
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.errors import DeviceError
from spelling_transfer.training.run import train, training_options

from .conftest import lora_losses, make_settings

settings = partial(make_settings, learning_rate=3e-3, batch_size=10, max_steps=4)


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


def test_ctrl_c_is_a_keyboard_interrupt_as_everywhere_and_the_next_one_is_heard(
    loaded: LoadedModel, examples: EncodedExamples
) -> None:
    class Press(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(loaded, examples, settings(), callbacks=[Press()])
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_trained_model_is_freed_when_it_is_let_go(loaded: LoadedModel, examples: EncodedExamples) -> None:
    same_start = LoadedModel(copy.deepcopy(loaded.model), loaded.vocabulary)
    gc.collect()
    gc.disable()  # on a GPU, the next model would come before the collector
    try:
        train(same_start, examples, settings(max_steps=1))
        model = weakref.ref(same_start.model)
        assert model() is not None
        same_start.model = None
        assert model() is None
    finally:
        gc.enable()


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


def test_checkpointed_gradients_take_the_same_steps(loaded: LoadedModel, examples: EncodedExamples) -> None:
    assert lora_losses(loaded, examples, gradient_checkpointing=True) == pytest.approx(
        lora_losses(loaded, examples), rel=1e-6
    )


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
    expected = lora_losses(loaded, examples, max_steps=2)
    # A compiler cannot look into liger's kernels.
    monkeypatch.setattr(run_module, "fused_kernels", lambda *_: pytest.fail("liger's kernels in compiled layers"))
    assert lora_losses(loaded, examples, max_steps=2, compile=True) == pytest.approx(expected, rel=1e-5)
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
        lora_losses(loaded, examples, max_steps=1, compile=True)


def test_bf16_runs_on_a_cpu_and_stays_near_fp32(loaded: LoadedModel, examples: EncodedExamples) -> None:
    exact = lora_losses(loaded, examples, precision="fp32")
    rounded = lora_losses(loaded, examples, precision="bf16")
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)  # bf16 has eight bits
