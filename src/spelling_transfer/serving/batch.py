"""Requests answered side by side, token by token: one that waits takes the slot of an answer that has ended."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from spelling_transfer.models.decode import Admission, StaticDecoder
from spelling_transfer.models.generate import random_numbers


@dataclass(frozen=True)
class PreparedRequest:
    """A request that was found fit, with everything generation needs.

    Choice *i* of ``n`` is drawn with the seed ``seed + i``: it is the answer to a request with that seed.

    Attributes:
        max_tokens: Longest answer, the end token included.
        seed: Of the first choice.
        chat: Whether it is a chat completion, else a text completion.
        include_usage: Whether a stream ends with the counts.
    """

    prompt_ids: list[int]
    max_tokens: int
    seed: int
    n: int
    return_token_ids: bool = False
    logprobs: bool = False
    chat: bool = True
    stream: bool = False
    include_usage: bool = False


@dataclass
class DrawnAnswer:
    """One choice, as far as it is drawn.

    Attributes:
        index: Which choice of its request.
        ids: Its tokens, the end left out.
        logprobs: Of each token, the logarithm of its probability at temperature 1, where wanted.
        finish_reason: Empty while it continues.
    """

    index: int
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = ""


@dataclass
class RunningRequest:
    """A request that waits or is being answered.

    Attributes:
        since: When it came, of ``time.monotonic``.
        data: What its owner keeps with it.
    """

    name: str
    request: PreparedRequest
    rows: Any
    since: float = field(default_factory=time.monotonic)
    answers: list[DrawnAnswer] = field(default_factory=list)
    data: Any = None

    @property
    def finished(self) -> bool:
        """Whether all its choices have ended."""
        return len(self.answers) == self.request.n and all(answer.finish_reason for answer in self.answers)


class RunningBatch:
    """Continuous batching (Yu et al., 2022, OSDI): requests come, end and are taken back between any two steps.

    Args:
        decoder: Whose slots are used; nothing else may use them.
        to_rows: From token ids to the model's rows.
        to_ids: And back.
        end_row: The row of the end token.
    """

    def __init__(self, decoder: StaticDecoder, to_rows: Any, to_ids: Any, end_row: int) -> None:
        self._decoder = decoder
        self._to_rows = to_rows
        self._to_ids = to_ids
        self._end_row = end_row
        self._waiting: deque[RunningRequest] = deque()
        self._in_slot: dict[int, tuple[RunningRequest, DrawnAnswer]] = {}

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting or self._in_slot)

    def add(self, name: str, request: PreparedRequest, data: Any = None) -> None:
        """Takes a request in; its answer begins with the next free slot."""
        self._waiting.append(RunningRequest(name, request, self._to_rows(request.prompt_ids), data=data))

    def names(self) -> set[str]:
        """Returns the names of all that wait or are being answered."""
        return {one.name for one in self._waiting} | {one.name for one, _ in self._in_slot.values()}

    def take_back(self, name: str) -> None:
        """Forgets a request that nobody waits for any more."""
        self._waiting = deque(one for one in self._waiting if one.name != name)
        for slot in [slot for slot, (one, _) in self._in_slot.items() if one.name == name]:
            del self._in_slot[slot]
            with torch.inference_mode():
                self._decoder.release(slot)

    def overdue(self, seconds: float) -> list[RunningRequest]:
        """Takes out and returns the requests of which no answer has begun for so long."""
        latest = time.monotonic() - seconds
        late = [one for one in self._waiting if not one.answers and one.since < latest]
        if late:
            self._waiting = deque(one for one in self._waiting if one.answers or one.since >= latest)
        return late

    def step(self) -> Iterator[tuple[RunningRequest, DrawnAnswer]]:
        """Draws the next token of each answer and yields the answers, those that have just ended among them."""
        with torch.inference_mode():
            self._admit()
            if not self._in_slot:
                return
            logprobs = any(one.request.logprobs for one, _ in self._in_slot.values())
            drawn, logs = self._decoder.step(logprobs=logprobs)
        ids = self._to_ids(drawn).tolist()
        for slot, (one, answer) in sorted(self._in_slot.items()):
            if drawn[slot] == self._end_row:
                answer.finish_reason = "stop"
            else:
                answer.ids.append(ids[slot])
                if one.request.logprobs:
                    answer.logprobs.append(logs[slot])
                if len(answer.ids) == one.request.max_tokens:
                    answer.finish_reason = "length"
            if answer.finish_reason:
                del self._in_slot[slot]
            yield one, answer

    def _admit(self) -> None:
        """Fills free slots, one choice of each waiting request in turn, so that none is held by another's many."""
        free = [slot for slot in range(self._decoder.size.slots) if slot not in self._in_slot]
        taken = []
        for slot in free[: self._decoder.most_admitted]:
            if not self._waiting:
                break
            one = self._waiting.popleft()
            answer = DrawnAnswer(len(one.answers))
            one.answers.append(answer)
            if len(one.answers) < one.request.n:
                self._waiting.append(one)
            limit = one.request.max_tokens
            (numbers,) = random_numbers([one.request.seed + answer.index], limit)
            taken.append(Admission(slot, one.rows, numbers, limit))
            self._in_slot[slot] = one, answer
        if taken:
            self._decoder.admit(taken)
