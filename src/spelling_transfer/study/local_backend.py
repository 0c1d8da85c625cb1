"""Workers as processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from spelling_transfer.study.backend import WorkerState
from spelling_transfer.study.sizing import n_gpus
from spelling_transfer.study.worker import STOP_WITH_INPUT

_PATIENCE_SECONDS = 30.0
"""How long a worker may take to write its checkpoint after it was asked to stop."""


def _device(worker: int) -> dict[str, str]:
    """Returns the variable that gives a worker a GPU of its own, where there are several."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = visible.split(",") if visible else [str(each) for each in range(n_gpus())]
    return {"CUDA_VISIBLE_DEVICES": devices[worker % len(devices)]} if len(devices) > 1 else {}


class LocalBackend:
    """Starts each worker as a process in a session of its own, so that Ctrl-C reaches the parent alone.

    A worker's standard input is a pipe from its parent. It closes when the parent ends, however it does, and the worker
    ends too: nothing is left behind by ``kill -9``.

    Args:
        folder: The study's folder; logs go to ``workers/`` in it.
    """

    def __init__(self, folder: Path) -> None:
        self._logs = folder / "workers"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._current: dict[int, str] = {}

    def start(self, worker: int, command: Sequence[str], env: Mapping[str, str]) -> str:
        """Starts a worker; one that is running already is left alone."""
        current = self._current.get(worker)
        if current is not None and self._processes[current].poll() is None:
            return current
        self._logs.mkdir(parents=True, exist_ok=True)
        env = {**env, **_device(worker)}
        program = [sys.executable if command[0] == "python" else command[0], *command[1:]]
        with (self._logs / f"worker-{worker}.log").open("ab") as log:
            process = subprocess.Popen(
                program,
                env={**os.environ, **env, STOP_WITH_INPUT: "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._current[worker] = str(process.pid)
        self._processes[str(process.pid)] = process
        return str(process.pid)

    def poll(self, ids: Sequence[str]) -> dict[str, WorkerState]:
        """Returns where each worker stands."""
        return {each: self._state(self._processes[each].poll()) for each in ids}

    @staticmethod
    def _state(code: int | None) -> WorkerState:
        if code is None:
            return "running"
        if code == 0:
            return "finished"
        return "failed" if code > 0 else "gone"

    def stop(self, ids: Sequence[str]) -> None:
        """Asks workers to stop, waits for their checkpoints, and ends those that do not."""
        processes = [self._processes[each] for each in ids]
        for process in processes:
            if process.poll() is None:
                process.terminate()
        for process in processes:
            try:
                process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
