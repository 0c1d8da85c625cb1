"""A base model in 4 bits, for LoRA on a GPU that does not hold it otherwise (QLoRA)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from spelling_transfer.errors import SpellingTransferError


class QuantisationError(SpellingTransferError):
    """A base model cannot be loaded in 4 bits here, or not be used as is asked."""


def four_bit_options(compute_dtype: str) -> dict[str, Any]:
    """Returns what ``from_pretrained`` takes to load a model in 4 bits: NF4, double quantisation, as the QLoRA paper.

    Dettmers et al., 2023, arXiv:2305.14314.

    Args:
        compute_dtype: Type the weights are unpacked to: ``bfloat16``, or ``float16`` on a T4.

    Raises:
        QuantisationError: There is no CUDA here, or no bitsandbytes.
    """
    import torch

    if not torch.cuda.is_available():
        raise QuantisationError(
            "four_bit: a base model in 4 bits needs CUDA, which is not here. Set it to false in the model's profile."
        )
    try:
        import_module("bitsandbytes")
    except ImportError as error:
        raise QuantisationError(
            "four_bit: a base model in 4 bits needs bitsandbytes (pip install 'spelling-transfer[cuda]'), or set it to "
            "false in the model's profile."
        ) from error
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, compute_dtype),
    )
    return {"quantization_config": config, "device_map": {"": torch.cuda.current_device()}}


def is_quantised(model: Any) -> bool:
    """Returns whether a model's weights are quantised."""
    return bool(getattr(model, "is_quantized", False))
