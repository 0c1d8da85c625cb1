"""Answers in slots: each step is one CUDA graph, and a prompt that waits takes the slot of an answer that has ended.

Continuous batching as in Orca (Yu et al., 2022, OSDI), with keys and values of a fixed size a slot. Prompts are read in
few shapes; a step has one. On a CPU the same code runs without graphs, for the tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spelling_transfer.models.attention import fixed_attention
from spelling_transfer.models.capture import Captured, GraphPool
from spelling_transfer.models.kernels import fused_kernels
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.slots import LayerShape, SlotCache

if TYPE_CHECKING:
    from spelling_transfer.models.generate import AnswerHead

PREFILLED_SHARE = 4
"""A quarter of the slots is filled at once: waiting for more leaves slots idle, and fewer fill the GPU less well."""

_READS_BEFORE = 2
"""Passes over prompts of one width before they are recorded; Python starts kernels faster than such a pass takes."""

Choose = Callable[["AnswerHead", torch.Tensor, torch.Tensor], torch.Tensor]
"""Chooses a candidate of the head for each of the states ``(rows, hidden)``, with one random number a row."""


@dataclass(frozen=True)
class DecoderSize:
    """The shapes of a decoder.

    Attributes:
        slots: Answers side by side.
        columns: Tokens of a prompt and its answer, a multiple of 8.
        new_tokens: Longest answer, the end token included.
    """

    slots: int
    columns: int
    new_tokens: int

    @property
    def rows(self) -> int:
        """Prompts that are read at once."""
        return self.slots // PREFILLED_SHARE

    def holds(self, other: DecoderSize) -> bool:
        """Whether what fits into the other fits into this one."""
        return self.slots >= other.slots and self.columns >= other.columns and self.new_tokens >= other.new_tokens


@dataclass(frozen=True)
class _Prompts:
    """Where the prompts of one shape are put: ids ``(rows, width)``, their slots ``(rows,)``, and the graph."""

    ids: torch.Tensor
    slots: torch.Tensor
    run: Captured


class StaticDecoder:
    """Generates answers with tensors that stay where they are. All its methods run in inference mode.

    Args:
        loaded: The model. The decoder keeps its weights, not the object.
        head: Which tokens can be chosen.
        choose: Chooses one; must not look at what tensors hold.
        size: How many answers, and how long.
        layers: What each layer keeps, of `layer_shapes`.
        end_row: The row of the end token.
        pool: Records steps, or calls them as they are.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        head: AnswerHead,
        choose: Choose,
        size: DecoderSize,
        layers: list[LayerShape],
        *,
        end_row: int,
        pool: GraphPool,
    ) -> None:
        device = loaded.device
        self.size = size
        self._model = loaded.model
        self._backbone = loaded.backbone
        self._cache_name = loaded.cache_name
        self._choose = choose
        self._end_row = end_row
        self._pool = pool
        self._head = head if head.weight is None else replace(head, weight=head.weight.clone())
        self._dtype = layers[0].dtype
        self._cache = SlotCache(layers, size.slots, size.columns, device)
        # Of each slot, the scratch slot last: the token that is read next, its column, the tokens chosen so far and at
        # most, whether the answer goes on, the answer, and the random number of each of its tokens.
        n = size.slots + 1
        self._token, self._column, self._count = torch.zeros(3, n, dtype=torch.long, device=device).unbind()
        self._limit = torch.ones(n, dtype=torch.long, device=device)
        self._going = torch.zeros(n, dtype=torch.bool, device=device)
        self._answers = torch.full((n, size.new_tokens), end_row, dtype=torch.long, device=device)
        self._numbers = torch.zeros(n, size.new_tokens, device=device)
        self._columns = torch.arange(size.columns, device=device)
        self._run_step = Captured(pool)
        self._prompts: dict[int, _Prompts] = {}

    def use(self, head: AnswerHead) -> None:
        """Takes over the rows of the head as they are now; their order and number must be the same."""
        if self._head.weight is not None and head.weight is not None:
            self._head.weight.copy_(head.weight)

    def answers(
        self, prompts: Sequence[np.ndarray], numbers: torch.Tensor | None, max_new_tokens: int
    ) -> Iterator[dict[int, list[int]]]:
        """Generates the answers to prompts, and yields them as slots are needed again.

        Args:
            prompts: Rows of each prompt.
            numbers: The random numbers of each, shape ``(prompts, tokens)``; ``None`` where nothing is drawn.
            max_new_tokens: Longest answer, the end token included.

        Yields:
            Rows of some answers by the place of the prompt, the end left out.
        """
        # Long answers belong to long prompts: begun first, they do not run alone at the end. Neighbours in length share
        # a shape.
        waiting = deque(sorted(range(len(prompts)), key=lambda i: -len(prompts[i])))
        asked: dict[int, int] = {}
        self._going.zero_()
        free = list(range(self.size.slots))
        while waiting or asked:
            if len(free) >= (min(self.size.rows, len(waiting)) if waiting else self.size.slots):
                if done := [slot for slot in free if slot in asked]:
                    rows = self._answers.tolist()
                    yield {asked.pop(slot): _until(rows[slot], self._end_row) for slot in done}
                while waiting and len(free) >= min(self.size.rows, len(waiting)):
                    taken = [(free.pop(), waiting.popleft()) for _ in range(min(self.size.rows, len(waiting)))]
                    asked.update(taken)
                    self._admit(taken, prompts, numbers, max_new_tokens)
            if asked:
                self._run_step(self._step)
                free = [slot for slot, going in enumerate(self._going[:-1].tolist()) if not going]

    def _admit(
        self,
        taken: Sequence[tuple[int, int]],
        prompts: Sequence[np.ndarray],
        numbers: torch.Tensor | None,
        max_new_tokens: int,
    ) -> None:
        """Reads prompts into slots: all but the last token of each, which the next step reads."""
        width = rounded(max(len(prompts[i]) for _, i in taken) - 1, 4)
        ids = np.zeros((self.size.rows, width), dtype=np.int64)
        slots = np.full(self.size.rows, self.size.slots, dtype=np.int64)
        for row, (slot, i) in enumerate(taken):
            ids[row, : len(prompts[i]) - 1] = prompts[i][:-1]
            slots[row] = slot
        device = self._token.device
        if width not in self._prompts:
            shapes = (self.size.rows, width), (self.size.rows,)
            places = [torch.zeros(shape, dtype=torch.long, device=device) for shape in shapes]
            self._prompts[width] = _Prompts(places[0], places[1], Captured(self._pool, _READS_BEFORE))
        place = self._prompts[width]
        place.ids.copy_(torch.from_numpy(ids))
        place.slots.copy_(torch.from_numpy(slots))
        place.run(lambda: self._read(place))
        state = [(slot, int(prompts[i][-1]), len(prompts[i]) - 1) for slot, i in taken]
        filled, token, column = torch.tensor(state).T.to(device).unbind()
        self._token[filled], self._column[filled] = token, column
        self._count.index_fill_(0, filled, 0)
        self._limit.index_fill_(0, filled, max_new_tokens)
        self._going.index_fill_(0, filled, True)
        self._answers.index_fill_(0, filled, self._end_row)
        if numbers is not None:
            self._numbers[filled, : numbers.shape[1]] = numbers[[i for _, i in taken]].to(device)

    def _read(self, place: _Prompts) -> None:
        with fixed_attention(self._model), self._kernels():
            self._cache.fill(place.slots)
            positions = self._columns[None, : place.ids.shape[1]]
            self._pass(place.ids, positions, None)

    def _step(self) -> None:
        """One token of every slot. Those that are idle write where the next prompt's last token will."""
        token, column, count = self._token[:-1], self._column[:-1], self._count[:-1]
        going, answers = self._going[:-1], self._answers[:-1]
        hidden = self._columns > column[:, None]
        mask = torch.zeros_like(hidden, dtype=self._dtype).masked_fill_(hidden, -torch.inf)[:, None, None]
        with fixed_attention(self._model), self._kernels():
            self._cache.extend(column)
            states = self._pass(token[:, None], column[:, None], mask)[:, -1]
        place = count.clamp(max=self.size.new_tokens - 1)[:, None]
        numbers = self._numbers[:-1].gather(1, place)[:, 0]
        chosen = self._head.to_rows(self._choose(self._head, states, numbers))
        answers.scatter_(1, place, torch.where(going[:, None], chosen[:, None], answers.gather(1, place)))
        count += going
        goes_on = going & (chosen != self._end_row) & (count < self._limit[:-1])
        token.copy_(torch.where(goes_on, chosen, token))
        column += goes_on
        going.copy_(goes_on)

    def _pass(self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        cache = {self._cache_name: self._cache}
        out = self._backbone(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, **cache)
        states: torch.Tensor = out.last_hidden_state
        return states

    def _kernels(self) -> AbstractContextManager[Any]:
        """Faster kernels of the model's own layers, where there are some."""
        return fused_kernels(self._model, self._token.device.type)


def rounded(tokens: int, step: int = 8) -> int:
    """Returns the next multiple of a step, by default what the mask of an attention kernel is a multiple of."""
    return max(-(-tokens // step), 1) * step


def _until(rows: list[int], end_row: int) -> list[int]:
    return rows[: rows.index(end_row)] if end_row in rows else rows
