"""Answers in slots: each step is one CUDA graph, and a prompt that waits takes the slot of an answer that has ended.

Continuous batching as in Orca (Yu et al., 2022, OSDI), with keys and values of a fixed size a slot. Prompts are read in
few shapes; a step has one. On a CPU the same code runs without graphs, for the tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from spelling_transfer.models.attention import fixed_attention
from spelling_transfer.models.capture import Captured, GraphPool
from spelling_transfer.models.kernels import fused_kernels
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.slots import LayerShape, SlotCache
from spelling_transfer.models.vocabulary import until_end

if TYPE_CHECKING:
    from spelling_transfer.models.generate import AnswerHead

PREFILLED_SHARE = 4
"""A quarter of the slots is filled at once: waiting for more leaves slots idle, and fewer fill the GPU less well."""

_MOST_READ = 128
"""Prompts that are read at once at most: with so many a GPU has enough to do, and their lengths differ little."""

_READS_BEFORE = 8
"""Passes over prompts of one width before they are recorded: that takes about a tenth of a second, and brings in only
what Python loses when it starts the kernels of a pass itself, which is nothing in a large model."""

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
        return min(max(self.slots // PREFILLED_SHARE, 1), _MOST_READ)

    def holds(self, other: DecoderSize) -> bool:
        """Whether what fits into the other fits into this one."""
        return self.slots >= other.slots and self.columns >= other.columns and self.new_tokens >= other.new_tokens


@dataclass(frozen=True)
class Admission:
    """A prompt that takes a slot.

    Attributes:
        slot: The slot.
        prompt: Rows of the prompt.
        numbers: The random number of each token of its answer, shape ``(tokens,)``; ``None`` where nothing is drawn.
        limit: Longest answer, the end token included.
    """

    slot: int
    prompt: np.ndarray
    numbers: torch.Tensor | None
    limit: int


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
        pool: Records steps, or calls them as they are; then they compute only the slots and columns in use.
        prefix: Rows that every prompt begins with; they run once, here.
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
        prefix: np.ndarray | None = None,
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
        # most, whether the answer continues, the answer, and the random number of each of its tokens.
        n = size.slots + 1
        self._token, self._column, self._count = torch.zeros(3, n, dtype=torch.long, device=device).unbind()
        self._limit = torch.ones(n, dtype=torch.long, device=device)
        self._going = torch.zeros(n, dtype=torch.bool, device=device)
        self._answers = torch.full((n, size.new_tokens), end_row, dtype=torch.long, device=device)
        self._numbers = torch.zeros(n, size.new_tokens, device=device)
        self._chosen = torch.zeros(size.slots, dtype=torch.long, device=device)
        self._logprobs = torch.zeros(size.slots, device=device)
        self._columns = torch.arange(size.columns, device=device)
        self._run_step = {wanted: Captured(pool) for wanted in (False, True)}
        self._prompts: dict[int, _Prompts] = {}
        rows = np.zeros(0, dtype=np.int64) if prefix is None else prefix
        scratch = torch.tensor([size.slots], device=device)
        self._prefix = _Prompts(torch.from_numpy(rows).long().to(device)[None], scratch, Captured(pool))
        self._start = len(rows)
        self._column.fill_(self._start)  # a step writes in idle slots too
        for _ in range(2):  # recorded now, as every call of `use` runs it
            self._read_prefix()

    def use(self, head: AnswerHead) -> None:
        """Takes over the weights as they are now; order and number of the head's rows must be the same."""
        if self._head.weight is not None and head.weight is not None:
            self._head.weight.copy_(head.weight)
        self._read_prefix()

    def _read_prefix(self) -> None:
        if self._start:
            self._prefix.run(lambda: self._read(self._prefix.ids, self._prefix.slots, start=0))
            self._cache.share(self._start)

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
        steps = 0
        begun: dict[int, int] = {}
        glances = _Glances(self._going)
        while waiting or asked:
            if len(free) >= (min(self.size.rows, len(waiting)) if waiting else self.size.slots):
                if done := [slot for slot in free if slot in asked]:
                    rows = self._answers.tolist()
                    yield {asked.pop(slot): until_end(rows[slot], self._end_row) for slot in done}
                while waiting and len(free) >= min(self.size.rows, len(waiting)):
                    taken = [(free.pop(0), waiting.popleft()) for _ in range(min(self.size.rows, len(waiting)))]
                    asked.update(taken)
                    begun.update((slot, steps) for slot, _ in taken)
                    drawn = [None if numbers is None else numbers[i] for _, i in taken]
                    self.admit(
                        [
                            Admission(slot, prompts[i], own, max_new_tokens)
                            for (slot, i), own in zip(taken, drawn, strict=True)
                        ]
                    )
            if asked:
                looked_at = steps
                if steps < max(begun[slot] for slot in asked) + max_new_tokens:
                    self._advance(logprobs=False)
                    steps += 1
                    glances.take(steps)
                    # Recorded steps are looked at one late, so that a device has the next one while the host looks.
                    looked_at = steps - 1 if self._pool.enabled else steps
                continues = glances.look(looked_at)
                ended = {slot for slot in asked if begun[slot] < looked_at and not continues[slot]}
                free = [slot for slot in range(self.size.slots) if slot not in asked or slot in ended]

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        """Brings a tensor to the device; a GPU finishes what it was given before, and the host does not wait for it."""
        device = self._token.device
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

    @property
    def most_admitted(self) -> int:
        """Prompts that `admit` takes at once: a recorded pass has one number of rows."""
        return self.size.rows if self._pool.enabled else self.size.slots

    def admit(self, taken: Sequence[Admission]) -> None:
        """Reads prompts into slots that are free: all but the last token of each, which the next step reads."""
        if (columns := max(len(one.prompt) + one.limit for one in taken)) > self.size.columns:
            self._widen(columns)
        # One slot reads a prompt for all who ask it, as the choices of one request do.
        first: dict[bytes, int] = {}
        readers = [one for one in taken if first.setdefault(one.prompt.tobytes(), one.slot) == one.slot]
        readers = list(taken) if self._pool.enabled else readers
        read = [one.prompt[self._start : -1] for one in readers]
        # Products of odd widths are slow, and a prompt may have nothing but its last token.
        width = rounded(self._start + max(1, *map(len, read)), 4) - self._start
        rows = self.size.rows if self._pool.enabled else len(readers)
        ids = np.zeros((rows, min(width, self.size.columns - self._start)), dtype=np.int64)
        slots = np.full(rows, self.size.slots, dtype=np.int64)
        for row, (one, begin) in enumerate(zip(readers, read, strict=True)):
            ids[row, : len(begin)] = begin
            slots[row] = one.slot
        given_ids, given_slots = self._placed(torch.from_numpy(ids)), self._placed(torch.from_numpy(slots))
        if not self._pool.enabled:
            self._read(given_ids, given_slots)
            if len(readers) < len(taken):
                self._cache.repeat([first[one.prompt.tobytes()] for one in taken], [one.slot for one in taken])
        else:
            if width not in self._prompts:
                places = torch.zeros_like(given_ids), torch.zeros_like(given_slots)
                self._prompts[width] = _Prompts(*places, Captured(self._pool, _READS_BEFORE))
            place = self._prompts[width]
            place.ids.copy_(given_ids)
            place.slots.copy_(given_slots)
            place.run(lambda: self._read(place.ids, place.slots))
        state = [(one.slot, int(one.prompt[-1]), len(one.prompt) - 1, one.limit) for one in taken]
        filled, token, column, limit = self._placed(torch.tensor(state).T.contiguous()).unbind()
        self._token[filled], self._column[filled], self._limit[filled] = token, column, limit
        self._count.index_fill_(0, filled, 0)
        self._going.index_fill_(0, filled, True)
        self._answers.index_fill_(0, filled, self._end_row)
        numbers = [one.numbers for one in taken if one.numbers is not None]
        if numbers:
            drawn = self._placed(pad_sequence(numbers, batch_first=True))
            self._numbers[filled, : drawn.shape[1]] = drawn

    def step(self, *, logprobs: bool = False) -> tuple[list[int], list[float]]:
        """Draws the next token of every slot.

        Args:
            logprobs: Whether the logarithms of the tokens' probabilities at temperature 1 are wanted too.

        Returns:
            The row that each slot drew, and its logarithm; of slots whose answer has ended, anything.
        """
        rows = self._advance(logprobs=logprobs)
        return self._chosen[:rows].tolist(), self._logprobs[:rows].tolist() if logprobs else []

    def _advance(self, *, logprobs: bool) -> int:
        """Starts a step and returns how many slots it computes."""
        rows, seen = self.size.slots, self.size.columns
        if not self._pool.enabled:
            going = self._going[:-1].nonzero()[:, 0]
            rows, seen = int(going[-1]) + 1, int(self._column[going].max()) + 1
        self._run_step[logprobs](lambda: self._step(rows, seen, logprobs))
        return rows

    def release(self, slot: int) -> None:
        """Ends the answer of a slot, which nobody waits for any more."""
        self._going[slot] = False

    def _widen(self, columns: int) -> None:
        """Makes room for longer prompts and answers; what is recorded is recorded anew."""
        self.size = replace(self.size, columns=rounded(columns, 128))
        self._cache.widen(self.size.columns)
        self._columns = torch.arange(self.size.columns, device=self._token.device)
        self._pool.renew()
        self._run_step = {wanted: Captured(self._pool) for wanted in (False, True)}
        self._prefix = replace(self._prefix, run=Captured(self._pool))
        self._prompts.clear()

    def _read(self, ids: torch.Tensor, slots: torch.Tensor, start: int | None = None) -> None:
        start, width = self._start if start is None else start, ids.shape[1]
        positions = self._columns[None, start : start + width]
        mask = None
        if start:
            hidden = self._columns[: start + width] > positions[0, :, None]
            mask = torch.zeros_like(hidden, dtype=self._dtype).masked_fill_(hidden, -torch.inf)[None, None]
        with fixed_attention(self._model), fused_kernels(self._model, self._token.device.type):
            self._cache.fill(slots, start)
            self._pass(ids, positions, mask)

    def _step(self, rows: int, seen: int, logprobs: bool) -> None:
        """One token of the first slots. Those that are idle write where the next prompt's last token will."""
        token, column, count = self._token[:rows], self._column[:rows], self._count[:rows]
        going, answers = self._going[:rows], self._answers[:rows]
        hidden = self._columns[:seen] > column[:, None]
        mask = torch.zeros_like(hidden, dtype=self._dtype).masked_fill_(hidden, -torch.inf)[:, None, None]
        with fixed_attention(self._model), fused_kernels(self._model, self._token.device.type):
            self._cache.extend(column, seen)
            states = self._pass(token[:, None], column[:, None], mask)[:, -1]
        place = count.clamp(max=self.size.new_tokens - 1)[:, None]
        numbers = self._numbers[:rows].gather(1, place)[:, 0]
        candidates = self._choose(self._head, states, numbers)
        chosen = self._head.to_rows(candidates)
        self._chosen[:rows].copy_(chosen)
        if logprobs:
            likely = self._head.logits(states).float().log_softmax(-1)
            self._logprobs[:rows].copy_(likely.gather(1, candidates[:, None])[:, 0])
        answers.scatter_(1, place, torch.where(going[:, None], chosen[:, None], answers.gather(1, place)))
        count += going
        goes_on = going & (chosen != self._end_row) & (count < self._limit[:rows])
        token.copy_(torch.where(goes_on, chosen, token))
        column += goes_on
        going.copy_(goes_on)

    def _pass(self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        cache = {self._cache_name: self._cache}
        out = self._backbone(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, **cache)
        states: torch.Tensor = out.last_hidden_state
        return states


class _Glances:
    """Which slots continue after a step, on the way from the device while the next step runs.

    Args:
        going: Whether each continues, on the device.
    """

    def __init__(self, going: torch.Tensor) -> None:
        self._going = going
        self._on_gpu = going.device.type == "cuda"
        self._kept = [torch.zeros(going.shape, dtype=torch.bool, pin_memory=self._on_gpu) for _ in range(2)]
        self._arrived: list[Any] = []
        if self._on_gpu:
            self._arrived = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]

    def take(self, step: int) -> None:
        """Begins to copy what is there after a step; the one before the last is forgotten."""
        self._kept[step % 2].copy_(self._going, non_blocking=True)
        if self._on_gpu:
            self._arrived[step % 2].record(torch.cuda.current_stream(self._going.device))

    def look(self, step: int) -> list[bool]:
        """Waits for what was there after a step."""
        if self._on_gpu:
            self._arrived[step % 2].synchronize()
        continues: list[bool] = self._kept[step % 2].tolist()
        return continues


def rounded(tokens: int, step: int = 8) -> int:
    """Returns the next multiple of a step, by default what the mask of an attention kernel is a multiple of."""
    return max(-(-tokens // step), 1) * step
