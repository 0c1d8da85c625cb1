"""Fine-tuning of all weights, for models small enough."""

from __future__ import annotations

from typing import Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.quantised import is_quantised

_BYTES_A_WEIGHT = 16
"""A float32 weight, its gradient and AdamW's two moments."""


class FullTrainingError(SpellingTransferError):
    """All weights of this model cannot be trained here."""


def train_all_weights(loaded: LoadedModel) -> Any:
    """Makes every weight of a model trainable, in place, and returns the model.

    Raises:
        FullTrainingError: The model is quantised, has an adapter, or needs more memory than there is.
    """
    model = loaded.model
    if hasattr(model, "peft_config"):
        raise FullTrainingError("method: full trains the base model, and this one has an adapter. Merge it first.")
    if is_quantised(model):
        raise FullTrainingError(
            "method: full cannot train weights of 4 bits. Set it to 'lora', or 'four_bit' to false in the profile."
        )
    weights = sum(p.numel() for p in model.parameters())
    needed, available = weights * _BYTES_A_WEIGHT, _available_bytes(loaded)
    if needed > available:
        raise FullTrainingError(
            f"method: full needs {needed / 1e9:.1f} GB for {weights / 1e6:.0f} million weights, their gradients and "
            f"AdamW's moments, and {available / 1e9:.1f} GB are free. Set it to 'lora'."
        )
    # What a float32 update adds to a coarser weight is mostly rounded away.
    model.float()
    model.requires_grad_(True)
    return model


def _available_bytes(loaded: LoadedModel) -> int:
    import psutil
    import torch

    if loaded.device.type == "cuda":
        return torch.cuda.mem_get_info(loaded.device)[0]
    return int(psutil.virtual_memory().available)
