"""Cross entropy of a head that may be too wide for all its logits at once.

A head of 151,936 rows makes 0.6 MB of float32 logits a label. Up to a bound they are computed as they are; beyond it in
chunks whose logits are computed again for the gradient (Chen et al., 2016, arXiv:1604.06174), or, on CUDA, by the fused
kernel of liger-kernel, which never holds them all (Hsu et al., 2024, arXiv:2410.10989). On a CPU a head that is not
trained, as under LoRA, is summed up in blocks with its gradient at once: `frozen_head`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from spelling_transfer.errors import SpellingTransferError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

Kernel = Literal["auto", "torch", "liger"]

DEFAULT_LOGITS_MB = 256
"""Four hundred labels over the whole vocabulary of Qwen3, in MB of 10^6 bytes."""

_BYTES_A_LOGIT = 4
"""The softmax is taken in float32."""


class KernelUnavailableError(SpellingTransferError):
    """A kernel was asked for by name that cannot run here."""


def head_cross_entropy(
    states: torch.Tensor,
    targets: torch.Tensor,
    head: Any,
    *,
    weight: torch.Tensor | None = None,
    logits_mb: int = DEFAULT_LOGITS_MB,
    kernel: Kernel = "auto",
) -> torch.Tensor:
    """Returns the sum of the cross entropy over all labels, differentiable in the states and the head.

    Args:
        states: Hidden states, shape ``(labels, hidden)``.
        targets: The row each of them is to predict, counted among those of ``weight``, shape ``(labels,)``.
        head: The output layer.
        weight: The rows of the head the softmax runs over, shape ``(rows, hidden)``; all of them by default.
        logits_mb: Largest block of logits held at once, in MB.
        kernel: ``torch`` on any device; ``liger`` on CUDA; ``auto`` takes liger where it is installed and the logits
            would not fit in one block.

    Raises:
        KernelUnavailableError: ``liger`` without CUDA or without liger-kernel.
    """
    import torch
    import torch.nn.functional as F

    if kernel != "liger" and states.device.type == "cpu" and is_frozen_matrix(head):
        from spelling_transfer.models.frozen_head import frozen_head_cross_entropy

        return frozen_head_cross_entropy(states, targets, head.weight if weight is None else weight)
    width = len(head.weight if weight is None else weight)
    chunk = max(1, logits_mb * 10**6 // (_BYTES_A_LOGIT * width))
    if kernel == "liger" or (kernel == "auto" and len(states) > chunk):
        fused = _fused(states, head, required=kernel == "liger")
        if fused is not None:
            loss: torch.Tensor = fused(head.weight if weight is None else weight, states, targets)
            return loss

    def loss_of(some_states: torch.Tensor, some_targets: torch.Tensor) -> torch.Tensor:
        logits = head(some_states) if weight is None else F.linear(some_states, weight)
        return F.cross_entropy(logits.float(), some_targets, reduction="sum")

    if len(states) <= chunk:
        return loss_of(states, targets)
    from torch.utils.checkpoint import checkpoint

    parts = [
        checkpoint(loss_of, s, t, use_reentrant=False)
        for s, t in zip(torch.split(states, chunk), torch.split(targets, chunk), strict=True)
    ]
    return torch.stack(parts).sum()


def is_frozen_matrix(head: Any) -> bool:
    """Says whether a head is one plain matrix that is not trained."""
    import torch

    return type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad


def _fused(states: torch.Tensor, head: Any, *, required: bool) -> Callable[..., torch.Tensor] | None:
    import torch

    plain = type(head) is torch.nn.Linear and head.bias is None
    on_cuda = states.device.type == "cuda"
    loss = _liger() if on_cuda and plain else None
    if loss is None and required:
        why = (
            f"the states are on {states.device.type}, and it runs on CUDA alone"
            if not on_cuda
            else f"the head is a {type(head).__name__} with an adapter or a bias"
            if not plain
            else "it is not installed (pip install 'spelling-transfer[cuda]')"
        )
        raise KernelUnavailableError(f"training.head: liger cannot be used: {why}. Set it to 'auto' or 'torch'.")
    return loss


@cache
def _liger() -> Callable[..., torch.Tensor] | None:
    try:
        kernels = import_module("liger_kernel.transformers")
    except ImportError:
        return None
    loss: Callable[..., torch.Tensor] = kernels.LigerFusedLinearCrossEntropyLoss(reduction="sum")
    return loss
