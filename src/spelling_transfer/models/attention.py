"""Attention for rows that are padded on the right: causal, without a mask, in kernels that need no plan for a shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from spelling_transfer.models.load import backbone

if TYPE_CHECKING:
    import torch

RIGHT_PADDED = "right_padded_causal"
"""Our attention's name among those of transformers, which give it no mask: padding comes after and is not looked at."""


def right_padded_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attends backwards only; arguments and result are those of transformers' attention functions.

    Args:
        module: The attention layer.
        query: Shape ``(rows, heads, sequence, head size)``.
        key: Shape ``(rows, key-value heads, sequence, head size)``.
        value: Shape of ``key``.
        attention_mask: Not looked at.
        dropout: Share of the weights that is left out.
        scaling: Factor of the scores; by default ``1 / sqrt(head size)``.
    """
    import torch.nn.functional as F

    grouped = query.shape[1] != key.shape[1]
    out = F.scaled_dot_product_attention(
        query, key, value, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped
    )
    return out.transpose(1, 2).contiguous(), None


@contextmanager
def attention(model: Any, name: str) -> Iterator[None]:
    """Gives a model another of transformers' attention functions inside the block."""
    from transformers import AttentionInterface

    AttentionInterface.register(RIGHT_PADDED, right_padded_attention)
    config = backbone(model).config
    before = config._attn_implementation  # transformers keeps it under this name alone
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def without_plans() -> Iterator[None]:
    """Keeps torch from cuDNN's attention inside the block: it builds a plan for each new shape, 2 to 3 s a width."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        yield


def keeps_right_padding(model: Any) -> str | None:
    """Returns why `right_padded_attention` cannot take the place of a model's own attention; ``None`` where it can."""
    config = backbone(model).config
    name = str(config._attn_implementation)
    if name != "sdpa":
        return f"its attention is '{name}', not 'sdpa'"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"]) - {"full_attention"}
    if kinds:
        return f"it has layers of {', '.join(sorted(kinds))}"
    return None
