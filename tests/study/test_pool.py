"""How many workers a study starts."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spelling_transfer.study.backend import WorkerState
from spelling_transfer.study.pool import WorkerPool


class Machines:
    """A back end that notes what it is asked for."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.stopped: list[str] = []

    def start(self, worker: int, command: Sequence[str], env: Mapping[str, str]) -> str:
        self.started.append(worker)
        return f"machine-{worker}"

    def poll(self, ids: Sequence[str]) -> dict[str, WorkerState]:
        return dict.fromkeys(ids, "running")

    def stop(self, ids: Sequence[str]) -> None:
        self.stopped += ids


class Told:
    """Records of a study of which some trials are finished."""

    def __init__(self, finished: int) -> None:
        self.finished = finished

    def trials(self) -> list[Any]:
        base = SimpleNamespace(number=-1, finished=True, step=0)  # the scores before training
        return [base, *(SimpleNamespace(number=number, finished=True, step=9) for number in range(self.finished))]

    def release(self, token: str) -> None: ...


@pytest.mark.parametrize(("finished", "started"), [(0, 4), (5, 4), (7, 3), (9, 1), (10, 1)])
def test_no_more_machines_are_started_than_trials_are_left(finished: int, started: int, tmp_path: Path) -> None:
    machines, stop = Machines(), threading.Event()
    stop.set()  # looks no further than the start
    pool = WorkerPool(machines, Told(finished), tmp_path, n_workers=4, n_trials=10, threads=1)  # type: ignore[arg-type]
    pool.run(stop)
    assert machines.started == list(range(started))
    assert machines.stopped == [f"machine-{worker}" for worker in range(started)]
