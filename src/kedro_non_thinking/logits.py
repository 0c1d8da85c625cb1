"""The guarantee at the token: whatever the weights prefer, a think token cannot be drawn.

Both masks put minus infinity where a token must not come, before anything is sorted, cut off or drawn; so they hold
under greedy search, sampling, beam search, assisted (speculative) decoding and with a cached prefix alike. They mask by
position in the logits: for a model with a trimmed vocabulary that is the row and not the id of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .errors import PolicyError

if TYPE_CHECKING:
    import torch


def allowed_without(think_ids: Iterable[int], allowed_ids: Iterable[int]) -> tuple[int, ...]:
    """Returns the allowed ids that are no think tokens, sorted.

    Raises:
        PolicyError: None is left, so that a model could answer nothing.
    """
    left = tuple(sorted(set(allowed_ids) - set(think_ids)))
    if not left:
        raise PolicyError("allowed_ids: no token is left to answer with once the think tokens are taken out.")
    return left


class ThinkTokenMask:
    """A logits processor for torch: for ``generate(logits_processor=[…])`` of transformers and for own loops.

    It needs no base class: transformers calls what it is given. It makes a new tensor and leaves its argument as it is.
    """

    def __init__(self, think_ids: Iterable[int], allowed_ids: Iterable[int] | None = None) -> None:
        """Notes what is masked.

        Args:
            think_ids: Tokens that are never drawn. Ids beyond the logits are ignored: what has no row cannot be drawn.
            allowed_ids: If given, every other token is masked as well (the English subset); put the end token in.

        Raises:
            PolicyError: ``allowed_ids`` hold nothing but think tokens.
        """
        self.think_ids = tuple(sorted(set(think_ids)))
        self.allowed_ids = None if allowed_ids is None else allowed_without(self.think_ids, allowed_ids)
        self._masks: dict[tuple[int, Any], torch.Tensor] = {}

    def __call__(self, input_ids: torch.Tensor | None, scores: torch.Tensor) -> torch.Tensor:
        """Returns the scores with minus infinity where a token must not come.

        Args:
            input_ids: Tokens so far, shape ``(batch, sequence)``; not looked at.
            scores: Logits or log-probabilities, shape ``(…, vocabulary)``.
        """
        return scores.masked_fill(self._mask(scores), float("-inf"))

    def _mask(self, scores: torch.Tensor) -> torch.Tensor:
        import torch

        size = scores.shape[-1]
        key = (size, scores.device)
        mask = self._masks.get(key)
        if mask is None:
            mask = torch.zeros(size, dtype=torch.bool)
            if self.allowed_ids is not None:
                mask[:] = True
                mask[[token for token in self.allowed_ids if token < size]] = False
            mask[[token for token in self.think_ids if token < size]] = True
            mask = self._masks[key] = mask.to(scores.device)
        return mask


class MlxThinkTokenMask:
    """The same for MLX: for ``logits_processors=[…]`` of mlx-lm, cached prompts and draft models included."""

    def __init__(self, think_ids: Iterable[int], allowed_ids: Iterable[int] | None = None) -> None:
        """Notes what is masked; arguments as for :class:`ThinkTokenMask`."""
        self.think_ids = tuple(sorted(set(think_ids)))
        self.allowed_ids = None if allowed_ids is None else allowed_without(self.think_ids, allowed_ids)
        self._masks: dict[int, Any] = {}

    def __call__(self, tokens: Any, logits: Any) -> Any:
        """Returns the logits, shape ``(…, vocabulary)``, with minus infinity where a token must not come."""
        import mlx.core as mx

        return mx.where(self._mask(logits.shape[-1]), mx.array(float("-inf"), dtype=logits.dtype), logits)

    def _mask(self, size: int) -> Any:
        import mlx.core as mx
        import numpy as np

        mask = self._masks.get(size)
        if mask is None:
            blocked = np.zeros(size, dtype=bool)
            if self.allowed_ids is not None:
                blocked[:] = True
                blocked[[token for token in self.allowed_ids if token < size]] = False
            blocked[[token for token in self.think_ids if token < size]] = True
            mask = self._masks[size] = mx.array(blocked)
        return mask
