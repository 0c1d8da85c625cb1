"""Attention for fixed shapes: rows padded on the right, or one token a slot, in kernels that plan for no shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.load import backbone

_NAME = "spelling_transfer_fixed"
"""Name of the attention in a model's configuration; without a mask of its own there, transformers makes none."""

_BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Not cuDNN's, which plans for 2 to 3 seconds at each shape it has not met."""

_FEW_SCORES = 8192
"""Scores of a row and head up to which attention is two matrix products on a GPU. Measured on an H100, 512 rows of one
query and 48 keys: 0.08 ms, where the memory-efficient kernel takes 0.13. The bound itself was not measured: it keeps
the scores, which are written out, to 32 kB."""

_UNKNOWN = ("position_bias", "s_aux", "sliding_window", "softcap")
"""What some models want of their attention beside softmax(q·k)·v."""


class NotStaticError(SpellingTransferError):
    """A model, or this machine, cannot compute in fixed shapes."""


@contextmanager
def without_plans() -> Iterator[None]:
    """Keeps PyTorch from attention that first plans for each shape; on a GPU that costs more than it brings in."""
    with sdpa_kernel(_BACKENDS):
        yield


@contextmanager
def fixed_attention(model: Any) -> Iterator[None]:
    """Lets a model attend in fixed shapes inside the block: nothing looks at what tensors hold."""
    AttentionInterface.register(_NAME, _attention)
    config = backbone(model).config
    before = config._attn_implementation  # transformers keeps it under this name alone
    config._attn_implementation = _NAME
    try:
        with without_plans():
            yield
    finally:
        config._attn_implementation = before


def check_attention(model: Any) -> None:
    """Checks that a model's own attention is plain, so that another may take its place.

    Raises:
        NotStaticError: It is not, or is chosen to be another than ``sdpa``.
    """
    decoder = backbone(model)
    name = str(decoder.config._attn_implementation)
    if name != "sdpa":
        raise NotStaticError(f"the model's attention is '{name}', not 'sdpa'")
    one = torch.zeros((1, 1), dtype=torch.long, device=decoder.get_input_embeddings().weight.device)
    with torch.no_grad(), fixed_attention(model):
        decoder(input_ids=one, use_cache=False)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    **wanted: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of whole rows (no mask: each token sees those before it), or of what a mask of all heads allows."""
    if unknown := [name for name in _UNKNOWN if wanted.get(name) is not None]:
        raise NotStaticError(f"{type(module).__name__} wants {unknown[0]} of its attention")
    rows, heads, tokens, width = query.shape
    shared = heads // key.shape[1]
    if attention_mask is None:
        # Pads come after what is asked for, where nothing of it looks.
        out = F.scaled_dot_product_attention(
            query, key, value, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=shared > 1
        )
    else:
        # Heads that share a key are queries of one head, so that no key is copied.
        grouped = query.reshape(rows, heads // shared, shared * tokens, width)
        if tokens > 1:
            attention_mask = attention_mask.repeat(1, 1, shared, 1)
        if query.device.type == "cuda" and shared * tokens * key.shape[2] <= _FEW_SCORES:
            out = by_products(grouped, key, value, attention_mask, scaling)
        else:
            out = F.scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=scaling)
        out = out.reshape(rows, heads, tokens, value.shape[-1])
    return out.transpose(1, 2).contiguous(), None


def by_products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Attention as two matrix products with a softmax in float32 between them.

    Args:
        query: Shape ``(rows, heads, queries, width)``.
        key: Shape ``(rows, heads, keys, width)``.
        value: Shape ``(rows, heads, keys, value_width)``.
        mask: Added to the scores, shape ``(rows or 1, 1, queries or 1, keys)``.
        scaling: Factor of the scores; by default one over the root of the width.

    Returns:
        Shape ``(rows, heads, queries, value_width)``.
    """
    # float32 comes out of the product of two narrower matrices as it is summed up there: nothing is rounded between.
    wide: dict[str, Any] = {} if query.dtype == torch.float32 else {"out_dtype": torch.float32}
    products = torch.bmm(query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), **wide)
    scores = products.reshape(*query.shape[:3], -1) * (scaling or query.shape[-1] ** -0.5) + mask
    shares = scores.softmax(-1).to(value.dtype)
    return torch.bmm(shares.flatten(0, 1), value.flatten(0, 1)).reshape(*query.shape[:3], -1)
