"""The loss of a frozen head equals torch's, in value and gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from spelling_transfer.models import frozen_head
from spelling_transfer.models.frozen_head import frozen_head_cross_entropy


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
    monkeypatch.setattr(frozen_head, "BLOCK_ROWS", 64)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(300, 16, generator=generator) * scale
    states = torch.randn(23, 16, generator=generator) * 4
    targets = torch.randint(0, 100, (23,), generator=generator)
    (loss, gradient), (full_loss, full_gradient) = both(states, targets, weight)
    torch.testing.assert_close(loss, full_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, full_gradient, rtol=1e-5, atol=1e-5)


def test_a_maximum_in_the_last_block_does_not_spoil_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_head, "BLOCK_ROWS", 2)
    weight = torch.tensor([[1.0], [2.0], [3.0], [200.0]])
    states = torch.tensor([[1.0], [-1.0]])
    (loss, gradient), (full_loss, full_gradient) = both(states, torch.tensor([0, 0]), weight)
    assert torch.isfinite(loss)
    torch.testing.assert_close(loss, full_loss)
    torch.testing.assert_close(gradient, full_gradient)


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
