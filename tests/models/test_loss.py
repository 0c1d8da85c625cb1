"""The answer-only loss equals the full computation in value and gradient, whatever kernel computes it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spelling_transfer.models import loss as loss_module
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import (
    IGNORED_LABEL,
    KernelUnavailableError,
    LossError,
    answer_only_loss,
    frozen_head_cross_entropy,
    head_cross_entropy,
    loss_at,
)
from spelling_transfer.models.trainable import LoraSettings, attach_lora
from spelling_transfer.training.pretrain import PretrainSettings, new_model


def batch(n_rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, n_rows, (4, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    labels = ids.clone()
    labels[:, :5] = IGNORED_LABEL
    labels[mask == 0] = IGNORED_LABEL
    return ids, mask, labels


def full_loss(loaded: LoadedModel, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    logits = loaded.model(input_ids=ids, attention_mask=mask).logits
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
    )


def test_value_and_gradient_equal_the_full_computation(loaded: LoadedModel) -> None:
    ids, mask, labels = batch(loaded.vocabulary.n_rows)
    gradients = []
    losses = []
    for loss in (answer_only_loss(loaded.model, ids, mask, labels), full_loss(loaded, ids, mask, labels)):
        loaded.model.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append([p.grad.clone() for p in loaded.model.parameters() if p.grad is not None])
    assert abs(losses[0] - losses[1]) < 1e-5 * abs(losses[1])
    for ours, full in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, full, atol=1e-5, rtol=1e-5)


def test_a_subset_is_a_softmax_over_its_rows_alone(loaded: LoadedModel) -> None:
    ids, mask, labels = batch(loaded.vocabulary.n_rows)
    rows = torch.unique(labels[labels != IGNORED_LABEL])
    logits = loaded.model(input_ids=ids, attention_mask=mask).logits
    outside = torch.ones(loaded.vocabulary.n_rows, dtype=torch.bool)
    outside[rows] = False
    masked = logits.masked_fill(outside, -torch.inf)[:, :-1].flatten(0, 1)
    expected = F.cross_entropy(masked, labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL, reduction="sum")
    kept = loaded.model.get_output_embeddings().weight.detach()[rows]
    for weight in (None, kept):
        loss = answer_only_loss(loaded.model, ids, mask, labels, subset_rows=rows, subset_weight=weight)
        torch.testing.assert_close(loss, expected)


def test_a_subset_keeps_the_bias_of_its_rows(loaded: LoadedModel) -> None:
    ids, mask, labels = batch(loaded.vocabulary.n_rows)
    head = torch.nn.Linear(32, loaded.vocabulary.n_rows)  # Phi's has a bias
    torch.nn.init.normal_(head.bias)
    loaded.model.set_output_embeddings(head)
    every = torch.arange(loaded.vocabulary.n_rows)
    torch.testing.assert_close(
        answer_only_loss(loaded.model, ids, mask, labels, subset_rows=every), full_loss(loaded, ids, mask, labels)
    )


@pytest.mark.parametrize("subset", [False, True])
def test_places_that_are_filled_up_count_for_nothing(loaded: LoadedModel, subset: bool) -> None:
    ids, _, labels = batch(loaded.vocabulary.n_rows)
    row, at = torch.nonzero(labels[:, 1:] != IGNORED_LABEL, as_tuple=True)
    places, targets = row * ids.shape[1] + at, labels[row, at + 1]
    rows = torch.unique(targets) if subset else None
    expected = answer_only_loss(loaded.model, ids, None, labels, subset_rows=rows)
    filled = torch.cat([places, torch.arange(7)]), torch.cat([targets, torch.full((7,), IGNORED_LABEL)])
    for some in ((places, targets), filled):
        torch.testing.assert_close(loss_at(loaded.model, ids, *some, subset_rows=rows), expected)


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
    loss_module._liger.cache_clear()
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
        loss_module._liger.cache_clear()


def test_a_subset_of_a_head_with_an_adapter_is_refused(loaded: LoadedModel) -> None:
    with pytest.warns(UserWarning, match="tied"):  # PEFT's advice on tied layers
        model = attach_lora(loaded, LoraSettings(r=2, alpha=2, target_modules=("q_proj", "lm_head")), ())
    ids = torch.zeros((1, 4), dtype=torch.long)
    with pytest.raises(LossError, match="target_modules"):
        answer_only_loss(model, ids, None, ids, subset_rows=torch.arange(3))


def both(states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    def full(states: torch.Tensor) -> torch.Tensor:
        logits = F.linear(states, weight)
        return F.cross_entropy(logits.float(), targets, reduction="sum")

    results = []
    for loss_of in (lambda s: frozen_head_cross_entropy(s, targets, weight), full):
        leaf = states.clone().requires_grad_()
        loss = loss_of(leaf)
        (loss * 0.25).backward()  # as a loss divided by the labels of its step
        assert leaf.grad is not None
        results.append((loss.detach(), leaf.grad))
    return results


@pytest.mark.parametrize("scale", [0.05, 3.0], ids=["flat", "peaked"])  # peaked: logits up to some hundreds
def test_value_and_gradient_over_several_blocks(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "_BLOCK_ROWS", 64)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 16, generator=generator) * scale
    states = torch.randn(23, 16, generator=generator) * 4
    targets = torch.randint(0, 100, (23,), generator=generator)
    (loss, gradient), (full_loss, full_gradient) = both(states, targets, weight)
    torch.testing.assert_close(loss, full_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, full_gradient, rtol=1e-5, atol=1e-5)


def test_a_maximum_in_the_last_block_does_not_spoil_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "_BLOCK_ROWS", 2)
    weight = torch.tensor([[1.0], [2.0], [3.0], [200.0]])
    states = torch.tensor([[1.0], [-1.0]])
    (loss, gradient), (full_loss, full_gradient) = both(states, torch.tensor([0, 0]), weight)
    assert torch.isfinite(loss)
    torch.testing.assert_close(loss, full_loss)
    torch.testing.assert_close(gradient, full_gradient)


@pytest.mark.parametrize("labels_a_block", [None, 5], ids=["by rows", "by labels"])  # as on a CPU, as on a GPU
def test_labels_that_count_for_nothing_have_neither_loss_nor_gradient(
    labels_a_block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "_BLOCK_ROWS", 64)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 16, generator=generator)
    states = torch.randn(23, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 300, (23,), generator=generator)
    targets[::3] = IGNORED_LABEL
    if labels_a_block is None:
        loss = frozen_head_cross_entropy(states, targets, weight)
    else:
        loss = loss_module._FrozenHeadByLabels.apply(states, targets, weight, labels_a_block)
    full = F.cross_entropy(F.linear(states, weight), targets, ignore_index=IGNORED_LABEL, reduction="sum")
    (gradient,), (full_gradient,) = (torch.autograd.grad(each, [states]) for each in (loss, full))
    torch.testing.assert_close(loss, full, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, full_gradient, rtol=1e-5, atol=1e-5)
    assert not gradient[::3].any()


def test_half_precision_is_summed_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = (torch.randn(20_000, 32, generator=generator) * 0.1).bfloat16()
    states = torch.randn(5, 32, generator=generator).bfloat16()
    targets = torch.tensor([0, 1, 2, 3, 19_999])
    (loss, gradient), (full_loss, full_gradient) = both(states, targets, weight)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(loss, full_loss, rtol=1e-3, atol=0)
    torch.testing.assert_close(gradient, full_gradient, rtol=0.05, atol=0.01)


def test_a_trained_head_is_refused() -> None:
    weight = torch.zeros(4, 2, requires_grad=True)
    with pytest.raises(ValueError, match="the head is trained"):
        frozen_head_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), weight)
