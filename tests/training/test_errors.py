from __future__ import annotations

from typing import Any

import pytest
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import loss_at
from spelling_transfer.training import module as module_file
from spelling_transfer.training.data import EncodedExamples
from spelling_transfer.training.errors import TrainingMemoryError, is_out_of_memory
from spelling_transfer.training.run import train

from .conftest import lora_losses, make_settings


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
    ],
    ids=["cuda", "python", "cpu", "mps"],
)
def test_out_of_memory_says_what_to_change(
    loaded: LoadedModel, examples: EncodedExamples, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(module_file, "loss_at", fail)
    with pytest.raises(TrainingMemoryError) as caught:
        train(loaded, examples, make_settings(batch_size=8, grad_accum_steps=2))
    assert "gradient_checkpointing" in str(caught.value)


def test_memory_that_is_really_out_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.float32)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(("dropout", "batching"), [(0.0, "padded"), (0.3, "padded"), (0.0, "packed")])
def test_memory_that_runs_out_halves_the_passes_and_the_step_stays_the_same(
    loaded: LoadedModel,
    examples: EncodedExamples,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    dropout: float,
    batching: str,
) -> None:
    undisturbed = lora_losses(loaded, examples, dropout=dropout)
    real, sizes = loss_at, []

    def bounded(model: Any, input_ids: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        if input_ids.numel() > 80:  # no two examples side by side
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(input_ids))
        return real(model, input_ids, *rest, **named)

    monkeypatch.setattr(module_file, "loss_at", bounded)
    with caplog.at_level("INFO"):
        losses = lora_losses(loaded, examples, dropout=dropout, batching=batching)
    assert "the step stays the same" in caplog.text
    assert max(sizes) < 10
    if not dropout:  # with dropout a step of other passes draws other numbers
        assert losses == pytest.approx(undisturbed, abs=1e-5)
