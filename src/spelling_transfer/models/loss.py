"""The answer-only loss: the head is computed where there is a label, and over the token subset when it is on.

A head of 151,936 rows makes 0.6 MB of float32 logits a label. A head that is not trained, as under LoRA, is summed up
with its gradient at once, in blocks: of labels, as many as the memory for logits holds, or on a CPU of rows, as many as
its cache holds. A head that is trained is computed as it is up to a bound; beyond it in chunks whose logits are
computed again for the gradient (Chen et al., 2016, arXiv:1604.06174), or, on CUDA, by the fused kernel of liger-kernel,
which never holds them all (Hsu et al., 2024, arXiv:2410.10989).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.utils.checkpoint import checkpoint

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.load import backbone

IGNORED_LABEL = -100
"""Label of a position that takes no part in the loss, as PyTorch's cross entropy has it."""

Kernel = Literal["auto", "torch", "liger"]

DEFAULT_LOGITS_MB = 256
"""Four hundred labels over the whole vocabulary of Qwen3, in MB of 10^6 bytes."""

_BYTES_A_LOGIT = 4
"""The softmax is taken in float32."""

_BLOCK_ROWS = 4096
"""Rows of a frozen head a block: 1 to 2 MB of logits with a batch of labels. 2,048 to 16,384 are as fast."""

_LOWEST = -60.0
"""Lower logits of a frozen head, seen from the highest, count as this: e⁻⁶⁰ is nothing beside 1 in float32, while what
lies below 10⁻³⁸ makes matrix products ten times as slow."""


class LossError(SpellingTransferError):
    """The loss that was asked for cannot be computed with this model."""


class KernelUnavailableError(SpellingTransferError):
    """A kernel was asked for by name that cannot run here."""


def answer_hidden_states(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    labels: torch.Tensor,
    position_ids: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs the model without its head and gathers the states that predict a label.

    Args:
        model: The model, with or without an adapter.
        input_ids: Rows of the embedding, shape ``(batch, sequence)``.
        attention_mask: 1 where there is a token, same shape; ``None`` where nothing is padded.
        labels: The row to be predicted *at* each position (not shifted), same shape, -100 where there is none.
        position_ids: For packed examples, the position of each token in its own example, same shape.

    Returns:
        Hidden states of shape ``(labels, hidden)`` and their target rows of shape ``(labels,)``.
    """
    given = {"attention_mask": attention_mask, "position_ids": position_ids, "use_cache": False}
    states = backbone(model)(input_ids=input_ids, **given).last_hidden_state
    # The state at position t predicts the token at t + 1.
    wanted = labels[:, 1:] != IGNORED_LABEL
    return states[:, :-1][wanted], labels[:, 1:][wanted]


def loss_at(
    model: Any,
    input_ids: torch.Tensor,
    places: torch.Tensor,
    targets: torch.Tensor,
    *,
    position_ids: torch.Tensor | None = None,
    **options: Any,
) -> torch.Tensor:
    """Returns the loss of `answer_only_loss` for labels whose places are known beforehand.

    Nothing on the way looks at the data, so a GPU is never waited for, and all shapes can be fixed.

    Args:
        model: The model, with or without an adapter.
        input_ids: Rows of the embedding, shape ``(batch, sequence)``, padded on the right if at all: attention that
            looks back only never sees the padding.
        places: For each label, the place of the state that predicts it among all ``batch * sequence``, shape
            ``(labels,)``.
        targets: The row to be predicted there, -100 where there is none, same shape.
        position_ids: As in `answer_hidden_states`.
        options: ``subset_rows``, ``subset_weight``, ``logits_mb`` and ``kernel``, as in `answer_only_loss`.

    Raises:
        LossError: As in `answer_only_loss`.
    """
    states = backbone(model)(input_ids=input_ids, position_ids=position_ids, use_cache=False).last_hidden_state
    return _loss_of(model, states.flatten(0, 1).index_select(0, places), targets, **options)


def answer_only_loss(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    labels: torch.Tensor,
    *,
    position_ids: torch.Tensor | None = None,
    **options: Any,
) -> torch.Tensor:
    """Returns the *sum* of the cross entropy over all labels; the caller divides by the labels of the whole step.

    Equal in value and gradient to the full computation: positions without a label contribute nothing to either.
    With ``subset_rows`` the softmax runs over those rows alone.

    Args:
        model: The model, with or without an adapter.
        input_ids: Rows of the embedding, shape ``(batch, sequence)``.
        attention_mask: 1 where there is a token, same shape, or ``None``.
        labels: As in `answer_hidden_states`.
        position_ids: As in `answer_hidden_states`.
        options: ``subset_rows``, the ascending rows of the token subset, shape ``(subset,)``, among which every label
            must be; ``subset_weight``, those rows of a head that is not trained, shape ``(subset, hidden)``, where the
            caller keeps them; ``logits_mb`` and ``kernel``, as in `head_cross_entropy`.

    Raises:
        LossError: A subset of a head that an adapter or a quantiser has replaced.
    """
    states, targets = answer_hidden_states(model, input_ids, attention_mask, labels, position_ids)
    return _loss_of(model, states, targets, **options)


def _loss_of(
    model: Any,
    states: torch.Tensor,
    targets: torch.Tensor,
    *,
    subset_rows: torch.Tensor | None = None,
    subset_weight: torch.Tensor | None = None,
    **options: Any,
) -> torch.Tensor:
    head, weight = model.get_output_embeddings(), None
    if subset_rows is not None:
        if hasattr(head, "base_layer") or not head.weight.is_floating_point():
            raise LossError(
                f"tokenizer.use_english_only_tokens: the head is a {type(head).__name__}, whose rows cannot be taken "
                "apart. Leave the head out of 'lora.target_modules', or train over the whole vocabulary."
            )
        targets = torch.where(targets == IGNORED_LABEL, targets, torch.searchsorted(subset_rows, targets))
        weight = head.weight[subset_rows] if subset_weight is None else subset_weight
        if getattr(head, "bias", None) is not None:  # Phi's
            options["bias"] = head.bias[subset_rows]
    return head_cross_entropy(states, targets, head, weight=weight, **options)


def head_cross_entropy(
    states: torch.Tensor,
    targets: torch.Tensor,
    head: Any,
    *,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    logits_mb: int = DEFAULT_LOGITS_MB,
    kernel: Kernel = "auto",
) -> torch.Tensor:
    """Returns the sum of the cross entropy over all labels, differentiable in the states and the head.

    Args:
        states: Hidden states, shape ``(labels, hidden)``.
        targets: The row each of them is to predict, counted among those of ``weight``, -100 for none, shape
            ``(labels,)``.
        head: The output layer.
        weight: The rows of the head the softmax runs over, shape ``(rows, hidden)``; all of them by default.
        bias: Their bias, where the head has one, shape ``(rows,)``.
        logits_mb: Largest block of logits held at once, in MB.
        kernel: ``torch`` on any device; ``liger`` on CUDA; ``auto`` takes liger for a head that is trained, where it is
            installed and the logits would not fit in one block.

    Raises:
        KernelUnavailableError: ``liger`` without CUDA or without liger-kernel.
    """
    if kernel != "liger" and is_frozen_matrix(head):
        return frozen_head_cross_entropy(states, targets, head.weight if weight is None else weight, logits_mb)
    width = len(head.weight if weight is None else weight)
    chunk = max(1, logits_mb * 10**6 // (_BYTES_A_LOGIT * width))
    if kernel == "liger" or (kernel == "auto" and len(states) > chunk):
        fused = _fused(states, head, required=kernel == "liger")
        if fused is not None:
            loss: torch.Tensor = fused(head.weight if weight is None else weight, states, targets)
            return loss

    def loss_of(some_states: torch.Tensor, some_targets: torch.Tensor) -> torch.Tensor:
        logits = head(some_states) if weight is None else F.linear(some_states, weight, bias)
        return F.cross_entropy(logits.float(), some_targets, reduction="sum")

    if len(states) <= chunk:
        return loss_of(states, targets)
    parts = [
        checkpoint(loss_of, s, t, use_reentrant=False, preserve_rng_state=False)  # nothing is drawn in it
        for s, t in zip(torch.split(states, chunk), torch.split(targets, chunk), strict=True)
    ]
    return torch.stack(parts).sum()


def is_frozen_matrix(head: Any) -> bool:
    """Says whether a head is one plain matrix that is not trained."""
    return type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad


def _fused(states: torch.Tensor, head: Any, *, required: bool) -> Callable[..., torch.Tensor] | None:
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


def frozen_head_cross_entropy(
    states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, logits_mb: int = DEFAULT_LOGITS_MB
) -> torch.Tensor:
    """Returns the sum of the cross entropy over all labels, differentiable in the states alone.

    With LoRA the head stays as it is, so backward needs one thing alone: the gradient in the states. For the sum of the
    cross entropy that is ``softmax(S Wᵀ) W - W[targets]``, with S the states and W the head, and it is there as soon as
    the loss is. On a GPU it is computed for as many labels at once as ``logits_mb`` holds. On a CPU the first term is
    taken for what it is in form: attention, the states being queries and the rows of the head both keys and values, so
    it is summed up block by block with a running maximum as attention is (Milakov and Gimelshein, 2018,
    arXiv:1805.02867; Rabe and Staats, 2021, arXiv:2112.05682). A block of logits stays in the processor's cache, while
    the whole of them, 0.6 MB a label for Qwen3, would be written to memory and read again several times.

    Args:
        states: Hidden states, shape ``(labels, hidden)``.
        targets: The row of the head each of them is to predict, -100 for none, shape ``(labels,)``.
        weight: The head, or the rows of it the softmax runs over, shape ``(rows, hidden)``; it must not be trained.
        logits_mb: Largest block of logits held at once on a GPU, in MB.

    Raises:
        ValueError: The head is trained: it would get no gradient.
    """
    if weight.requires_grad:
        raise ValueError("the head is trained; its loss needs a gradient in the weight as well")
    if states.device.type == "cpu":
        loss: torch.Tensor = _FrozenHeadByRows.apply(states, targets, weight)  # type: ignore[no-untyped-call]
    else:
        labels = max(1, logits_mb * 10**6 // (_BYTES_A_LOGIT * len(weight)))
        loss = _FrozenHeadByLabels.apply(states, targets, weight, labels)  # type: ignore[no-untyped-call]
    return loss


class _FrozenHeadByLabels(torch.autograd.Function):
    """Blocks of labels over the whole head: large matrix products, as a GPU likes them."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor, labels: int
    ) -> torch.Tensor:
        loss = states.new_zeros((), dtype=torch.float32)
        gradients = []
        for some, rows in zip(torch.split(states, labels), torch.split(targets, labels), strict=True):
            counts, row = (rows != IGNORED_LABEL)[:, None], rows.clamp(min=0)
            logits = (some.to(weight.dtype) @ weight.T).float()
            total = logits.logsumexp(1, keepdim=True)
            loss += ((total - logits.gather(1, row[:, None])) * counts).sum()
            shares = logits.sub_(total).exp_().to(weight.dtype)
            gradients.append(((shares @ weight - weight[row]) * counts).to(states.dtype))
        ctx.save_for_backward(torch.cat(gradients))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None, None, None


class _FrozenHeadByRows(torch.autograd.Function):
    """Blocks of rows for all labels: what is computed stays in the processor's cache."""

    @staticmethod
    def forward(ctx: FunctionCtx, states: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        maximum = states.new_full((len(states), 1), -torch.inf, dtype=torch.float32)
        total = torch.zeros_like(maximum)  # of the exponentials, each less the maximum so far
        mean_row = torch.zeros_like(states, dtype=torch.float32)  # of the head, weighted by the exponentials
        for block in torch.split(weight, _BLOCK_ROWS):
            logits = (states @ block.T).float()
            new_maximum = torch.maximum(maximum, logits.amax(1, keepdim=True))
            shares = logits.sub_(new_maximum).clamp_(min=_LOWEST).exp_()
            shrink = maximum.sub_(new_maximum).exp_()
            total.mul_(shrink).add_(shares.sum(1, keepdim=True))
            mean_row.mul_(shrink).add_((shares.to(block.dtype) @ block).float())
            maximum = new_maximum
        counts, target_rows = (targets != IGNORED_LABEL).float(), weight[targets.clamp(min=0)].float()
        losses = ((maximum + total.log())[:, 0] - (states.float() * target_rows).sum(1)) * counts
        gradient = mean_row.div_(total).sub_(target_rows).mul_(counts[:, None])
        ctx.save_for_backward(gradient.to(states.dtype))
        return losses.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None, None
