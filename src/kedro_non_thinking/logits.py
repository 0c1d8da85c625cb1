"""The guarantee at the token: whatever the weights prefer, a think token cannot be drawn.

Both masks put minus infinity where a token must not come, before anything is sorted, cut off or drawn; so they hold
under greedy search, sampling, beam search, assisted (speculative) decoding and with a cached prefix alike. They mask by
position in the logits: for a model with a trimmed vocabulary that is the row and not the id of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
        raise PolicyError("allowed_ids: no token is left after removing the think tokens.")
    return left


class _Mask:
    """What both masks share: which positions of the logits are blocked, worked out once for each size and device."""

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
        self._masks: dict[Any, Any] = {}

    def _blocked(self, size: int) -> npt.NDArray[np.bool_]:
        blocked = np.full(size, self.allowed_ids is not None)
        blocked[[token for token in self.allowed_ids or () if token < size]] = False
        blocked[[token for token in self.think_ids if token < size]] = True
        return blocked


class ThinkTokenMask(_Mask):
    """A logits processor for torch: for ``generate(logits_processor=[…])`` of transformers and for own loops.

    It needs no base class: transformers calls what it is given. It makes a new tensor and leaves its argument as it is.
    """

    def __call__(self, input_ids: torch.Tensor | None, scores: torch.Tensor) -> torch.Tensor:
        """Returns the scores with minus infinity where a token must not come.

        Args:
            input_ids: Tokens so far, shape ``(batch, sequence)``; not looked at.
            scores: Logits or log-probabilities, shape ``(…, vocabulary)``.
        """
        import torch

        key = (scores.shape[-1], scores.device)
        if key not in self._masks:
            self._masks[key] = torch.from_numpy(self._blocked(scores.shape[-1])).to(scores.device)
        return scores.masked_fill(self._masks[key], float("-inf"))


class MlxThinkTokenMask(_Mask):
    """The same for MLX: for ``logits_processors=[…]`` of mlx-lm, cached prompts and draft models included."""

    def __call__(self, tokens: Any, logits: Any) -> Any:
        """Returns the logits, shape ``(…, vocabulary)``, with minus infinity where a token must not come."""
        import mlx.core as mx

        size = logits.shape[-1]
        if size not in self._masks:
            self._masks[size] = mx.array(self._blocked(size))
        return mx.where(self._masks[size], mx.array(float("-inf"), dtype=logits.dtype), logits)
