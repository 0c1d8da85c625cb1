from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spelling_transfer.models import head as head_module
from spelling_transfer.models.head import KernelUnavailableError, head_cross_entropy
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.lora import LoraSettings, attach_lora
from spelling_transfer.models.loss import LossError, answer_only_loss
from spelling_transfer.training.pretrain import PretrainSettings, new_model

ROWS, HIDDEN, LABELS = 25_000, 8, 60  # a megabyte of logits holds ten labels: six chunks


def problem() -> tuple[torch.Tensor, torch.Tensor, torch.nn.Linear]:
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(HIDDEN, ROWS, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.randn(ROWS, HIDDEN, generator=generator))
    states = torch.randn(LABELS, HIDDEN, generator=generator, requires_grad=True)
    return states, torch.randint(0, ROWS, (LABELS,), generator=generator), head


@pytest.mark.parametrize("subset", [False, True])
def test_chunks_equal_the_whole_in_value_and_gradient(subset: bool) -> None:
    states, targets, head = problem()
    rows = torch.arange(0, ROWS, 2) if subset else None
    weight = head.weight[rows] if rows is not None else head.weight
    targets = targets // 2 if subset else targets
    whole = F.cross_entropy(F.linear(states, weight), targets, reduction="sum")
    expected = torch.autograd.grad(whole, [states, head.weight])
    chunked = head_cross_entropy(states, targets, head, weight=head.weight[rows] if subset else None, logits_mb=1)
    gradients = torch.autograd.grad(chunked, [states, head.weight])
    torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=0.0)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_no_more_logits_are_held_than_the_bound_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    states, targets, head = problem()
    largest: list[int] = []
    cross_entropy = F.cross_entropy

    def spy(logits: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        largest.append(logits.numel() * logits.element_size())
        return cross_entropy(logits, *rest, **named)

    monkeypatch.setattr(F, "cross_entropy", spy)
    saved = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal saved
        saved = max(saved, tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = head_cross_entropy(states, targets, head, logits_mb=1)
    loss.backward()
    assert len(largest) == 2 * 6  # once forward, once more for the gradient
    assert max(largest) <= 1_000_000
    assert saved < ROWS * HIDDEN * 4 + 1  # the head's weight, and no block of logits


def test_a_tied_embedding_gets_both_its_gradients() -> None:
    model = new_model(np.arange(ROWS), 0, PretrainSettings(hidden_size=32, layers=1)).model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    ids = torch.randint(0, ROWS, (4, 12), generator=torch.Generator().manual_seed(0))
    logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
    F.cross_entropy(logits, ids[:, 1:].flatten(), reduction="sum").backward()
    expected = model.get_input_embeddings().weight.grad.clone()
    model.zero_grad()
    answer_only_loss(model, ids, None, ids, logits_mb=1).backward()
    torch.testing.assert_close(model.get_input_embeddings().weight.grad, expected, atol=1e-5, rtol=1e-5)


def test_a_fused_kernel_is_refused_by_name_where_it_cannot_run() -> None:
    states, targets, head = problem()
    with pytest.raises(KernelUnavailableError, match=r"training.head: liger.*on cpu"):
        head_cross_entropy(states, targets, head, kernel="liger")


class _OnCuda(torch.Tensor):
    """A tensor that says it is on CUDA."""

    @property
    def device(self) -> Any:
        return torch.device("cuda")


def test_on_cuda_large_blocks_go_to_the_fused_kernel_and_small_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[tuple[int, ...], ...]] = []

    class FakeLoss:
        def __init__(self, reduction: str) -> None:
            assert reduction == "sum"

        def __call__(self, weight: torch.Tensor, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            calls.append((tuple(weight.shape), tuple(states.shape), tuple(targets.shape)))
            return torch.zeros(())

    package, kernels = ModuleType("liger_kernel"), ModuleType("liger_kernel.transformers")
    kernels.LigerFusedLinearCrossEntropyLoss = FakeLoss  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", package)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", kernels)
    head_module._liger.cache_clear()
    states, targets, head = problem()
    on_cuda = states.detach().as_subclass(_OnCuda)
    try:
        head_cross_entropy(on_cuda, targets, head, logits_mb=1)
        assert calls == [((ROWS, HIDDEN), (LABELS, HIDDEN), (LABELS,))]
        head_cross_entropy(on_cuda, targets, head, logits_mb=256)
        head_cross_entropy(states, targets, head, logits_mb=1)
        head_cross_entropy(on_cuda, targets, head, logits_mb=1, kernel="torch")
        assert len(calls) == 1
    finally:
        head_module._liger.cache_clear()


def test_a_subset_of_a_head_with_an_adapter_is_refused(loaded: LoadedModel) -> None:
    with pytest.warns(UserWarning, match="tied"):  # PEFT's advice on tied layers
        model = attach_lora(loaded, LoraSettings(r=2, alpha=2, target_modules=("q_proj", "lm_head")), ())
    ids = torch.zeros((1, 4), dtype=torch.long)
    with pytest.raises(LossError, match="target_modules"):
        answer_only_loss(model, ids, None, ids, subset_rows=torch.arange(3))
