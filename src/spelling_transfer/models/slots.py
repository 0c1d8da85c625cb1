"""Keys and values in slots of a fixed size, and the attention that reads them: shapes that never change.

A slot holds one prompt and its answer. All slots are one row of the batch in each step, wherever in its answer each is;
when an answer ends, another prompt takes its slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

from spelling_transfer.models.attention import NotStaticError, without_plans
from spelling_transfer.models.load import LoadedModel, base_of, is_quantised

_ROPE_BY_LENGTH = {"dynamic", "longrope"}
"""Rotations that depend on the longest sequence of a batch, so that answers would depend on their neighbours."""


@dataclass(frozen=True)
class LayerShape:
    """What one layer keeps of a token.

    Attributes:
        heads: Heads of its keys and values.
        key_width: Width of a key.
        value_width: Width of a value.
        dtype: Type of both.
    """

    heads: int
    key_width: int
    value_width: int
    dtype: torch.dtype

    @property
    def token_bytes(self) -> int:
        """Bytes of one token's key and value."""
        return self.heads * (self.key_width + self.value_width) * self.dtype.itemsize


def layer_shapes(loaded: LoadedModel) -> list[LayerShape]:
    """Asks a model what its layers keep, by running one token through it.

    Raises:
        NotStaticError: It keeps something else than all keys and values, or its attention cannot be replaced.
    """
    model = base_of(loaded.model)
    if is_quantised(model):
        raise NotStaticError("the model's weights are quantised")
    if not getattr(model, "_supports_attention_backend", False):
        raise NotStaticError(f"{type(model).__name__} has non-standard attention")
    rope = getattr(model.config, "rope_parameters", None) or {}
    kinds = {str(part.get("rope_type")) for part in (rope, *rope.values()) if isinstance(part, dict)}
    if by_length := sorted(kinds & _ROPE_BY_LENGTH):
        raise NotStaticError(f"its position encoding ({by_length[0]}) depends on the longest text of a batch")
    if len({weight.device for weight in model.parameters()}) > 1:
        raise NotStaticError("the model is spread over several devices")
    if torch.is_autocast_enabled(loaded.device.type):
        raise NotStaticError("automatic mixed precision is on")
    token = torch.zeros((1, 1), dtype=torch.long, device=loaded.device)
    with without_plans():
        cache = loaded.backbone(input_ids=token, use_cache=True)[loaded.cache_name]
    shapes = []
    for layer in cache.layers:
        if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
            raise NotStaticError(f"a layer keeps its past as {type(layer).__name__}")
        keys, values = layer.keys, layer.values
        shapes.append(LayerShape(keys.shape[1], keys.shape[-1], values.shape[-1], keys.dtype))
    return shapes


class SlotCache(Cache):
    """The keys and values of all slots and of one scratch slot, where rows without a prompt write.

    Args:
        layers: What each layer keeps.
        slots: Answers side by side; slot number ``slots`` is the scratch slot.
        columns: Tokens a slot holds.
        device: Where.
    """

    def __init__(self, layers: list[LayerShape], slots: int, columns: int, device: torch.device) -> None:
        super().__init__(layers=[])
        # Zeros, as a weight of 0 does not hide a value that is not a number.
        self._keys = [
            torch.zeros(slots + 1, s.heads, columns, s.key_width, dtype=s.dtype, device=device) for s in layers
        ]
        self._values = [
            torch.zeros(slots + 1, s.heads, columns, s.value_width, dtype=s.dtype, device=device) for s in layers
        ]
        self._target: torch.Tensor | None = None
        self._column: torch.Tensor | None = None
        self._start = self._seen = 0

    def fill(self, slots: torch.Tensor, start: int = 0) -> None:
        """From now on a pass writes prompts, one a row, into these slots, shape ``(rows,)``, from a column on.

        What stands before that column is what all of them begin with, and is looked at too.
        """
        self._target, self._column, self._start = slots, None, start

    def extend(self, columns: torch.Tensor, seen: int) -> None:
        """From now on a pass writes one token a slot into these columns, and looks at the first columns alone.

        Args:
            columns: Of the first slots, shape ``(slots,)``.
            seen: How many columns attention looks at.
        """
        self._target, self._column, self._seen = None, columns[:, None, None, None], seen

    def share(self, columns: int) -> None:
        """Gives all slots the first columns of the scratch slot."""
        for layer in (*self._keys, *self._values):
            layer[:-1, :, :columns] = layer[-1:, :, :columns]

    def repeat(self, slots: list[int], others: list[int]) -> None:
        """Gives each of the other slots what one slot holds."""
        for layer in (*self._keys, *self._values):
            layer[others] = layer[slots]

    def widen(self, columns: int) -> None:
        """Gives each slot so many columns and keeps what it holds."""
        for kept in (self._keys, self._values):
            for layer, old in enumerate(kept):
                kept[layer] = old.new_zeros(*old.shape[:2], columns, old.shape[3])
                kept[layer][:, :, : old.shape[2]] = old

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes the new keys and values of a layer, and returns what its attention looks at.

        Args:
            key_states: Shape ``(rows, heads, tokens, key_width)``.
            value_states: Shape ``(rows, heads, tokens, value_width)``.
            layer_idx: The layer.

        Returns:
            Prompts, after what all begin with; or a token's slot, shape ``(slots, heads, columns, width)``.
        """
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        if self._target is not None:
            end = self._start + key_states.shape[2]
            for kept, new in ((keys, key_states), (values, value_states)):
                kept[:, :, self._start : end].index_copy_(0, self._target, new)
                kept[:, :, end:].index_fill_(0, self._target, 0.0)  # what another answer left may be no number
            if not self._start:
                return key_states, value_states
            return keys[:, :, :end].index_select(0, self._target), values[:, :, :end].index_select(0, self._target)
        if self._column is None:
            raise ValueError("SlotCache: call fill or extend first")
        keys, values = keys[: len(self._column)], values[: len(self._column)]
        keys.scatter_(2, self._column.expand_as(key_states), key_states)
        values.scatter_(2, self._column.expand_as(value_states), value_states)
        return keys[:, :, : self._seen], values[:, :, : self._seen]
