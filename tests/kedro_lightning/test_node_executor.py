"""The executor of a run: an error is always heard of, and leaving it stops what costs money."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import node, pipeline
from kedro.runner import Task
from tests.kedro_lightning.conftest import until, work

from kedro_lightning.config import ComputeConfig
from kedro_lightning.jobs.dispatch import Dispatcher
from kedro_lightning.node_executor import NodeExecutor
from kedro_lightning.node_jobs import make_node_jobs
from kedro_lightning.platform.jobs import JobsApi

_CONFIG = ComputeConfig.model_validate(
    {
        "tags": {"gpu": "t4"},
        "tiers": {"t4": {"machines": ["T4"]}},
        "studios": {"tuning": {"name": "spelling-tuning", "nodes": ["*"]}},
    }
)
_STEPS = pipeline(
    [
        node(lambda x: x, "given", "made", name="prepare"),
        node(lambda x: x, "made", "last", name="train", tags=["gpu"]),
    ]
)


class Refusing:
    """A hook of a project that fails before a node of a job."""

    @hook_impl
    def before_node_run(self, node: Any) -> None:
        if node.name == "train":
            raise OSError("no space")


class NoJobs:
    """A dispatcher that takes on nothing, or whatever it is given and does it at once."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def submit(self, work: Any) -> Future[Any]:
        if self.error is not None:
            raise self.error
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    def close(self) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("where", "fails"), [("state", "prepare"), ("job state", "train"), ("hook", "train"), ("submit", "train")]
)
def test_an_error_after_a_node_has_run_is_raised_where_the_run_waits(where: str, fails: str) -> None:
    def on_done(name: str) -> None:
        if (where, name) in (("state", "prepare"), ("job state", "train")):
            raise OSError("no space")

    hooks = _create_hook_manager()
    if where == "hook":
        hooks.register(Refusing())
    kept = DataCatalog({"given": MemoryDataset(1), "made": MemoryDataset(), "last": MemoryDataset()})
    jobs = make_node_jobs(_STEPS, _CONFIG)
    dispatcher: Any = NoJobs(OSError("no space") if where == "submit" else None)
    works: Any = {"train": None}
    with NodeExecutor(_STEPS, jobs, works, dispatcher, done=set(), on_done=on_done) as executor:
        for each in sorted(_STEPS.nodes, key=lambda step: step.name):
            future = executor.submit(Task(each, kept, False, hook_manager=hooks, run_id="run-1"))
            if each.name == fails:
                with pytest.raises(OSError, match="no space"):
                    future.result(300)
                return
            future.result(300)


def test_leaving_with_an_error_also_stops_the_jobs_of_a_node_that_runs_here(platform, studio, connection) -> None:
    own, of_a_node = (Dispatcher(JobsApi(connection), run) for run in ("run-1", "search"))
    of_a_node.submit(work("worker-0", studio, "sleep 60"))
    until(lambda: platform.running)
    with NodeExecutor(_STEPS, [], {}, own, done=set(), on_done=lambda name: None):
        pass
    assert len(platform.running) == 1  # a run that ends well leaves alone what is not its own
    with (
        pytest.raises(KeyboardInterrupt),
        NodeExecutor(_STEPS, [], {}, own, done=set(), on_done=lambda name: None),
    ):
        raise KeyboardInterrupt
    assert platform.running == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interruption_does_not_cut_short_the_clean_up(how: signal.Signals, capfd) -> None:
    assert threading.current_thread() is threading.main_thread()
    stopped: list[str] = []

    def close() -> list[str]:
        os.kill(os.getpid(), how)
        stopped.append("all")
        return []

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(how, interrupt)
    try:
        dispatcher: Any = SimpleNamespace(close=close)
        with NodeExecutor(_STEPS, [], {}, dispatcher, done=set(), on_done=lambda name: None):
            pass
        assert signal.getsignal(how) is interrupt
    finally:
        signal.signal(how, before)
    assert stopped == ["all"]
    assert "The rented machines are being stopped; a moment.\n" in capfd.readouterr().err
