"""The answer-only loss: the head is computed where there is a label, and over the token subset when it is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.head import DEFAULT_LOGITS_MB, Kernel, head_cross_entropy

if TYPE_CHECKING:
    import torch

IGNORED_LABEL = -100
"""Label of a position that takes no part in the loss, as PyTorch's cross entropy has it."""


class LossError(SpellingTransferError):
    """The loss that was asked for cannot be computed with this model."""


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
    inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
    if position_ids is not None:
        inputs["position_ids"] = position_ids
    states = backbone(model)(**inputs).last_hidden_state
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
    subset_weight: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    logits_mb: int = DEFAULT_LOGITS_MB,
    kernel: Kernel = "auto",
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
        subset_weight: Those rows of a head that is not trained, shape ``(subset, hidden)``, where the caller keeps
            them; they are gathered anew otherwise.
        position_ids: As in `answer_hidden_states`.
        logits_mb: Largest block of logits held at once, in MB; more are computed in chunks.
        kernel: As in `head_cross_entropy`.

    Raises:
        LossError: A subset of a head that an adapter or a quantiser has replaced.
    """
    states, targets = answer_hidden_states(model, input_ids, attention_mask, labels, position_ids)
    head = model.get_output_embeddings()
    if subset_rows is not None:
        import torch

        if hasattr(head, "base_layer") or not head.weight.is_floating_point():
            raise LossError(
                f"tokenizer.use_english_only_tokens: the head is a {type(head).__name__}, whose rows cannot be taken "
                "apart. Leave the head out of 'lora.target_modules', or train over the whole vocabulary."
            )
        targets = torch.searchsorted(subset_rows, targets)
        weight = head.weight[subset_rows] if subset_weight is None else subset_weight
        return head_cross_entropy(states, targets, head, weight=weight, logits_mb=logits_mb, kernel=kernel)
    return head_cross_entropy(states, targets, head, logits_mb=logits_mb, kernel=kernel)


def backbone(model: Any) -> Any:
    """Returns the decoder without its head, whatever adapter is around it."""
    # PEFT puts its layers inside the base model, so the base's own backbone already carries the adapter.
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    return base.model
