"""The answer-only loss: the head is computed where there is a label, and over the token subset when it is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IGNORED_LABEL = -100
"""Label of a position that takes no part in the loss, as PyTorch's cross entropy has it."""


def answer_hidden_states(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    labels: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Runs the model without its head and gathers the states that predict a label.

    Args:
        model: The model, with or without an adapter.
        input_ids: Rows of the embedding, shape ``(batch, sequence)``.
        attention_mask: 1 where there is a token, same shape; ``None`` where nothing is padded.
        labels: The row to be predicted *at* each position (not shifted), same shape, -100 where there is none.

    Returns:
        Hidden states of shape ``(labels, hidden)`` and their target rows of shape ``(labels,)``.
    """
    backbone = _backbone(model)
    states = backbone(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    # The state at position t predicts the token at t + 1.
    wanted = labels[:, 1:] != IGNORED_LABEL
    return states[:, :-1][wanted], labels[:, 1:][wanted]


def answer_only_loss(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    labels: torch.Tensor,
    *,
    subset_rows: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the *sum* of the cross entropy over all labels; the caller divides by the labels of the whole step.

    Equal in value and gradient to the full computation: positions without a label contribute nothing to either.
    With ``subset_rows`` the softmax runs over those rows alone.

    Args:
        model: The model, with or without an adapter.
        input_ids: Rows of the embedding, shape ``(batch, sequence)``.
        attention_mask: 1 where there is a token, same shape, or ``None``.
        labels: As in `answer_hidden_states`.
        subset_rows: Ascending rows of the token subset, shape ``(subset,)``; every label must be among them.
    """
    import torch.nn.functional as F

    states, targets = answer_hidden_states(model, input_ids, attention_mask, labels)
    head = model.get_output_embeddings()
    if subset_rows is None:
        logits = head(states)
    else:
        import torch

        logits = F.linear(states, head.weight[subset_rows])
        targets = torch.searchsorted(subset_rows, targets)
    return F.cross_entropy(logits.float(), targets, reduction="sum")


def _backbone(model: Any) -> Any:
    # PEFT puts its layers inside the base model, so the base's own backbone already carries the adapter.
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    return base.model
