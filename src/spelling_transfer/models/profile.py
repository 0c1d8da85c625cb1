"""A base model in settings: how it is loaded, its sizes, and what a smaller vocabulary saves of it.

One YAML file a model under ``conf/<env>/study/models/``.
"""

from __future__ import annotations

import timeit
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from spelling_transfer.frozen import FrozenModel


class ModelShape(FrozenModel):
    """The sizes of a decoder with grouped-query attention and a gated feed-forward layer, such as Qwen3."""

    name: str = Field(min_length=1, description="What the model is called.")
    vocabulary_rows: int = Field(ge=1, description="Rows of the published embedding, those without a token included.")
    hidden_size: int = Field(ge=1, description="Width of the hidden states.")
    layers: int = Field(ge=1, description="Number of layers.")
    attention_heads: int = Field(ge=1, description="Query heads of a layer.")
    key_value_heads: int = Field(ge=1, description="Key and value heads of a layer.")
    head_size: int = Field(ge=1, description="Width of one head.")
    feed_forward_size: int = Field(ge=1, description="Width between the two halves of the feed-forward layer.")
    tied_embeddings: bool = Field(True, description="Whether head and input embedding are one matrix.")
    bytes_per_weight: float = Field(2.0, gt=0, le=8, description="2 for bfloat16 and float16, 4 for float32.")

    @classmethod
    def of_config(
        cls, config: Mapping[str, Any], *, name: str, vocabulary_rows: int, bytes_per_weight: float
    ) -> ModelShape:
        """Reads the shape from a ``config.json`` of transformers.

        Args:
            config: The configuration.
            name: What to call the model.
            vocabulary_rows: Rows of the untrimmed embedding.
            bytes_per_weight: Size of a weight as it is loaded.
        """
        heads = config["num_attention_heads"]
        return cls(
            name=name,
            vocabulary_rows=vocabulary_rows,
            hidden_size=config["hidden_size"],
            layers=config["num_hidden_layers"],
            attention_heads=heads,
            key_value_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or config["hidden_size"] // heads,
            feed_forward_size=config["intermediate_size"],
            tied_embeddings=config.get("tie_word_embeddings", False),
            bytes_per_weight=bytes_per_weight,
        )

    @property
    def layer_weights(self) -> int:
        """Weights of all layers that multiply each token: projections of attention and feed-forward."""
        attention = 2 * self.hidden_size * self.head_size * (self.attention_heads + self.key_value_heads)
        return self.layers * (attention + 3 * self.hidden_size * self.feed_forward_size)


class VocabularySavings(FrozenModel):
    """For which models the savings are computed, beside the one in use."""

    reference: ModelShape = Field(description="A published model whose savings are computed from its shape.")
    measure_head: bool = Field(True, description="Whether the head of the model in use is also timed on this machine.")
    measured_positions: int = Field(32, ge=1, le=4_096, description="Positions of the timed product.")
    measured_mb: float = Field(600.0, gt=0, description="Largest head that is timed, in MB of float32.")


def savings(shape: ModelShape, subset_size: int) -> dict[str, Any]:
    """Computes what the head and the embedding cost with the whole vocabulary and with a subset.

    Work is counted in multiplications and additions: two for each weight and token (Kaplan et al. 2020, section 2.1,
    attention over the context left out). ``*_bytes`` are those of embedding and head, once where they are tied.

    Returns:
        A row: ``model``, ``rows``, ``subset_rows``; ``embedding_mb``, ``subset_embedding_mb``, ``saved_mb`` (trimmed
        model; 10^6 bytes); ``head_flops_per_token``, ``subset_head_flops_per_token``; ``head_share`` (of the work of
        one generated token), ``work_saved_share``; ``logits_mb_per_1000_tokens`` and
        ``subset_logits_mb_per_1000_tokens`` (float32, what training holds for 1,000 positions with labels).
    """
    matrices = 1 if shape.tied_embeddings else 2
    rows = shape.vocabulary_rows
    head, subset_head = 2 * rows * shape.hidden_size, 2 * subset_size * shape.hidden_size
    work = 2 * shape.layer_weights + head
    row_bytes = matrices * shape.hidden_size * shape.bytes_per_weight
    return {
        "model": shape.name,
        "rows": rows,
        "subset_rows": subset_size,
        "embedding_mb": round(rows * row_bytes / 1e6, 2),
        "subset_embedding_mb": round(subset_size * row_bytes / 1e6, 2),
        "saved_mb": round((rows - subset_size) * row_bytes / 1e6, 2),
        "head_flops_per_token": head,
        "subset_head_flops_per_token": subset_head,
        "head_share": round(head / work, 4),
        "work_saved_share": round((head - subset_head) / work, 4),
        "logits_mb_per_1000_tokens": round(rows * 4 * 1000 / 1e6, 1),
        "subset_logits_mb_per_1000_tokens": round(subset_size * 4 * 1000 / 1e6, 1),
    }


def measure_head(shape: ModelShape, subset_size: int, settings: VocabularySavings) -> dict[str, float] | None:
    """Times the head alone on this machine, with random weights: the product of embedding and hidden states.

    Returns:
        ``positions``, ``head_ms`` and ``subset_head_ms``, the best of three products in float32; ``None`` where that is
        switched off or the head is too large to try.
    """
    if not settings.measure_head or shape.vocabulary_rows * shape.hidden_size * 4 / 1e6 > settings.measured_mb:
        return None
    # The values do not matter for the time, but zeros would: they are not even read from memory.
    weights = np.full((shape.vocabulary_rows, shape.hidden_size), 0.5, dtype=np.float32)
    states = np.full((shape.hidden_size, settings.measured_positions), 0.5, dtype=np.float32)

    def best_ms(matrix: np.ndarray) -> float:
        return round(1000 * min(timeit.repeat(lambda: np.matmul(matrix, states), number=1, repeat=3)), 3)

    return {
        "positions": settings.measured_positions,
        "head_ms": best_ms(weights),
        "subset_head_ms": best_ms(weights[:subset_size]),
    }


class ModelProfile(FrozenModel):
    """A causal language model that can be studied.

    Where its files are is the business of the ``base_model`` entry in the catalog; this says how to use them.
    """

    name: str = Field(min_length=1, description="What reports and the endpoint call the model.")
    hub_id: str | None = Field(None, description="Repository on the hub, if the model comes from there.")
    licence: str | None = Field(None, description="Licence of the model, as its SPDX identifier; an export says it.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Type of the loaded weights.")
    four_bit: bool = Field(
        False, description="Hold the base in 4 bits (NF4, bitsandbytes; CUDA alone), unpacked to dtype for arithmetic."
    )
    tokenizer_sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Hash of its tokenizer.json; by default that of the file in its folder. Prompts of another "
        "tokenizer are refused.",
    )
    lora_targets: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj"), min_length=1, description="Names of the linear layers LoRA adapts."
    )
    shape: ModelShape | None = Field(
        None, description="Its sizes, from its config.json; time and memory of a study are estimated from them."
    )

    @property
    def bytes_per_weight(self) -> float:
        """Size of a weight as it is loaded."""
        return 4.0 if self.dtype == "float32" else 2.0
