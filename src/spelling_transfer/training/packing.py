"""Whether a model's attention keeps packed examples apart."""

from __future__ import annotations

from typing import Any

import torch

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.load import backbone

_CAUSE = "so examples in one row would see each other and the loss would be another"


class PackingError(SpellingTransferError):
    """Examples cannot be packed with this model."""


def attention_of(model: Any) -> str:
    """Returns the name of the model's attention implementation, as transformers has it."""
    return str(backbone(model).config._attn_implementation)


def row_tokens(model: Any, packed_tokens: int) -> int | None:
    """Returns the longest packed row, ``None`` for a single row a batch, which is what flash attention packs."""
    return None if attention_of(model).startswith("flash") else packed_tokens


def check_packing(model: Any) -> None:
    """Packs two short examples and looks whether the second one's states depend on the first one's tokens.

    transformers builds the block-diagonal mask from positions that restart (``find_packed_sequence_indices`` in its
    ``masking_utils``) for sdpa, eager and flex attention, and takes them as sequence bounds for flash attention. An
    implementation from elsewhere, or a layer that is no attention, may do neither, so it is tried.

    Raises:
        PackingError: The second example's states changed with the first, or its positions did not restart.
    """
    decoder, name = backbone(model), attention_of(model)
    rows = decoder.get_input_embeddings().weight.shape[0]
    if rows < 2:
        raise PackingError("training.batching: packed needs a model with at least two embedding rows.")
    device = decoder.get_input_embeddings().weight.device
    length = 8
    count = torch.arange(length, device=device)
    first, other = (count % rows)[None], ((count + max(1, rows // 2)) % rows)[None]
    second = first
    positions = torch.arange(length, device=device).repeat(2)[None]
    was_training = decoder.training
    decoder.eval()
    try:
        with torch.no_grad():
            states = [
                decoder(
                    input_ids=torch.cat([before, second], dim=1),
                    attention_mask=None,
                    position_ids=positions,
                    use_cache=False,
                ).last_hidden_state[0, length:]
                for before in (first, other)
            ]
            alone = decoder(input_ids=second, attention_mask=None, use_cache=False).last_hidden_state[0]
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise PackingError(
            f"training.batching: packed cannot be used: attention '{name}' does not take packed examples ({error}). "
            "Set it to 'padded'."
        ) from error
    finally:
        decoder.train(was_training)
    scale = float(alone.float().abs().max())
    exact = alone.dtype == torch.float32
    if float((states[0] - states[1]).float().abs().max()) > (1e-5 if exact else 1e-2) * scale:
        raise PackingError(
            f"training.batching: packed cannot be used: attention '{name}' does not keep packed examples apart, "
            f"{_CAUSE}. Set it to 'padded', or load the model with sdpa, eager, flex or flash attention."
        )
    if float((states[0].float() - alone.float()).abs().max()) > (1e-3 if exact else 5e-2) * scale:
        raise PackingError(
            f"training.batching: packed cannot be used: with attention '{name}' an example's states depend on its "
            "place in the row. Set it to 'padded'."
        )
