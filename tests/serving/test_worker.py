"""What the process that holds the model does when a step fails."""

from __future__ import annotations

import io
import queue
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from spelling_transfer.serving import worker


class FailingBatch:
    busy = True

    def overdue(self, seconds: float) -> list[Any]:
        return []

    def names(self) -> set[str]:
        return {"asked"}

    def step(self) -> Iterator[Any]:
        raise RuntimeError("CUDA out of memory.")
        yield


def test_slots_that_failed_are_gone_before_new_ones_take_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker._LOG, "exception", lambda _: None)  # what pytest notes of it would hold them
    made: list[weakref.ref[FailingBatch]] = []

    def new_batch() -> FailingBatch:
        assert all(earlier() is None for earlier in made)
        batch = FailingBatch()
        made.append(weakref.ref(batch))
        return batch

    settings = SimpleNamespace(queue_timeout_seconds=1.0)
    engine = SimpleNamespace(card=SimpleNamespace(settings=settings), new_batch=new_batch)
    incoming: queue.SimpleQueue[list[bytes]] = queue.SimpleQueue()
    out = io.BytesIO()
    loop = worker.WorkerLoop(engine, incoming, out)
    for _ in range(2):
        loop.turn()
    assert len(made) == 3
    assert out.getvalue().count(b"asked") == 2
