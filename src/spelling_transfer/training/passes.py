"""How an optimiser step is cut into passes: few, of few shapes, as large as memory allows.

The loss of a step is normalised over its labels, so any cut gives the same step. A pass is one forward and backward
over some of its examples, neighbours in length, padded to the longest of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_LOGGER = logging.getLogger(__name__)

WIDTH_STEP = 8
"""Widths on a GPU are multiples of this: few shapes, and aligned as its matrix units like them."""

_MOST_WIDTHS = 4
"""Widths on a GPU at most; each is a graph to be captured, or a shape whose kernels are set up once."""

CPU_PASS_TOKENS = 4_096
"""Tokens of a pass on a CPU at most: more are no faster, and take memory."""

_CPU_PASS_COST = 96
"""What a pass costs on a CPU beside its tokens, in tokens of padding."""


@dataclass
class Cutter:
    """Cuts steps into passes; what it has learnt about memory is kept for the run.

    Attributes:
        tokens: Rows times width of a pass at most.
        pass_cost: What a pass costs beside its tokens, in tokens: padding below that is cheaper than one pass more.
        widths: The widths there are, ascending; empty where a pass is as wide as its longest example.
    """

    tokens: int = CPU_PASS_TOKENS
    pass_cost: int = _CPU_PASS_COST
    widths: tuple[int, ...] = field(default=())

    def width(self, longest: int) -> int:
        """Returns how wide a pass is whose longest example has so many tokens."""
        return next((width for width in self.widths if width >= longest), longest)

    def cut(self, lengths: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Cuts a step into passes.

        Of all cuts of the examples in order of length, the one that costs least: padding, and ``pass_cost`` a pass.

        Args:
            lengths: Tokens of each example of the step.

        Returns:
            Places in ``lengths``, an array a pass; in order of length.
        """
        order = np.argsort(lengths, kind="stable")
        widths = [self.width(int(n)) for n in np.asarray(lengths)[order]]
        # Where a pass may start: the first example of each width, since a cut elsewhere saves no padding.
        edges = [0, *(i for i in range(1, len(order)) if widths[i] != widths[i - 1]), len(order)]
        passes: list[np.ndarray] = []
        for start, end in _cheapest(edges, widths, self.pass_cost):
            rows = max(1, self.tokens // max(self.widths, default=widths[end - 1]))
            number = -(-(end - start) // rows)
            passes += np.array_split(order[start:end], number)
        return passes

    def halve(self, examples: int, tokens: int) -> bool:
        """Makes passes half as large as the largest of those that ran out of memory.

        Args:
            examples: Examples of a pass at most.
            tokens: Rows times width of the largest.

        Returns:
            Whether that was possible; a single example cannot be cut.
        """
        if examples == 1:
            return False
        self.tokens = smaller = min(self.tokens, tokens) // 2
        _LOGGER.info("Out of memory: passes of at most %d tokens from here on; the step stays the same.", smaller)
        return True


def _cheapest(edges: Sequence[int], widths: Sequence[int], pass_cost: int) -> list[tuple[int, int]]:
    """Returns the runs between edges whose padded tokens and passes cost least, by dynamic programming."""
    best: list[tuple[int, int]] = [(0, 0)]  # cost up to an edge, and where its last run starts
    for j in range(1, len(edges)):
        width = widths[edges[j] - 1]
        best.append(min((best[i][0] + (edges[j] - edges[i]) * width + pass_cost, i) for i in range(j)))
    runs: list[tuple[int, int]] = []
    end = len(edges) - 1
    while end:
        start = best[end][1]
        runs.append((edges[start], edges[end]))
        end = start
    return runs[::-1]


def few_widths(lengths: np.ndarray, steps: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Returns the widths that the longest examples of a run's steps need: multiples of 8, at most four.

    Args:
        lengths: Tokens of each example.
        steps: Which examples each step of the run holds.
    """
    step = WIDTH_STEP
    longest = {int(lengths[list(indices)].max()) for indices in steps}
    while len({-(-n // step) for n in longest}) > _MOST_WIDTHS:
        step *= 2
    return tuple(sorted({-(-n // step) * step for n in longest}))


_ACTIVATION_VALUES = (4, 4, 3, 3)
"""Values kept for backward, a token and layer: of the width, the query heads, the key-value heads, the feed-forward.

As measured on Qwen3-4B with LoRA on its attention and liger's kernels: 118 kB a token and layer in bfloat16.
"""
_SHARE_OF_FREE = 0.75
"""The rest is for logits, and because what is free is not free in one piece."""


def estimate_pass_tokens(config: Any, free_bytes: int, *, bytes_per_value: int) -> int:
    """Returns how many tokens a pass can hold in the memory that is free; tried and corrected before the first step.

    Args:
        config: transformers' configuration of the decoder.
        free_bytes: Memory that is free with the model and the optimiser's moments in place.
        bytes_per_value: 2 in bfloat16, 4 in float32 and under autocast.
    """
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    key_value_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    sizes = (
        config.hidden_size,
        config.num_attention_heads * head_size,
        key_value_heads * head_size,
        config.intermediate_size,
    )
    values = sum(times * size for times, size in zip(_ACTIVATION_VALUES, sizes, strict=True))
    per_token = config.num_hidden_layers * values * bytes_per_value
    return max(1, int(_SHARE_OF_FREE * free_bytes / per_token))
