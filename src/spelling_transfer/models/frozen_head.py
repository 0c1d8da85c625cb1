"""Loss of a head that is not trained: its gradient is computed on the way, and no logit is kept.

With LoRA the head stays as it is, so backward needs one thing alone: the gradient in the states. For the sum of the
cross entropy that is ``softmax(S Wᵀ) W - W[targets]``, with S the states and W the head. The first term has the form of
attention, the states being queries and the rows of the head both keys and values, so it can be summed up block by block
with a running maximum as attention is (Milakov and Gimelshein, 2018, arXiv:1805.02867; Rabe and Staats, 2021,
arXiv:2112.05682). A block of logits stays in the processor's cache, while the whole of them, 0.6 MB a label for Qwen3,
would be written to memory and read again several times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

BLOCK_ROWS = 4096
"""Rows of the head a block: with a batch of labels 1 to 2 MB of logits. From 2,048 to 16,384 the speed is the same."""


def frozen_head_cross_entropy(states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Returns the sum of the cross entropy over all labels, differentiable in the states alone.

    Args:
        states: Hidden states, shape ``(labels, hidden)``.
        targets: The row of the head each of them is to predict, shape ``(labels,)``.
        weight: The head, or the rows of it the softmax runs over, shape ``(rows, hidden)``; it must not be trained.

    Raises:
        ValueError: The head is trained: it would get no gradient.
    """
    if weight.requires_grad:
        raise ValueError("the head is trained; its loss needs a gradient in the weight as well")
    loss: torch.Tensor = _FrozenHead.apply(states, targets, weight)  # type: ignore[no-untyped-call]
    return loss


_LOWEST = -60.0
"""Lower logits, seen from the highest, count as this: e⁻⁶⁰ is nothing beside 1 in float32, while what lies below 10⁻³⁸
makes matrix products ten times as slow."""


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        maximum = states.new_full((len(states), 1), -torch.inf, dtype=torch.float32)
        total = torch.zeros_like(maximum)  # of the exponentials, each less the maximum so far
        mean_row = torch.zeros_like(states, dtype=torch.float32)  # of the head, weighted by the exponentials
        for block in torch.split(weight, BLOCK_ROWS):
            logits = (states @ block.T).float()
            new_maximum = torch.maximum(maximum, logits.amax(1, keepdim=True))
            shares = logits.sub_(new_maximum).clamp_(min=_LOWEST).exp_()
            shrink = maximum.sub_(new_maximum).exp_()
            total.mul_(shrink).add_(shares.sum(1, keepdim=True))
            mean_row.mul_(shrink).add_((shares.to(block.dtype) @ block).float())
            maximum = new_maximum
        target_rows = weight[targets].float()
        losses = (maximum + total.log())[:, 0] - (states.float() * target_rows).sum(1)
        gradient = mean_row.div_(total).sub_(target_rows)
        ctx.save_for_backward(gradient.to(states.dtype))
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None, None
