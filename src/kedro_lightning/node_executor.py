"""The executor that Kedro's scheduler hands its tasks to: some run here, some as jobs."""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .errors import JobError
from .jobs.dispatch import Dispatcher, open_dispatchers
from .jobs.work import Outcome, Work, fail, finish
from .node_jobs import NodeJob, parents_outside
from .places import place_of

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node
    from kedro.runner import Task

logger = logging.getLogger(__name__)


class NodeExecutor(Executor):
    """Runs tasks one after another in a thread of this process, and groups of tasks as jobs.

    The hooks of a node that runs elsewhere are fired here once, whatever becomes of its jobs: before it when its job is
    asked for, after it when its outputs are there.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        jobs: list[NodeJob],
        works: dict[str, Work],
        dispatcher: Dispatcher,
        *,
        done: set[str],
        on_done: Callable[[str], None],
    ) -> None:
        """Makes an executor for one run.

        Args:
            pipeline: What is run.
            jobs: The jobs of the pipeline.
            works: The work of each job, by its name.
            dispatcher: Starts and watches the jobs.
            done: Nodes that an earlier driver of the same run has done.
            on_done: Called with each node that is done.
        """
        self._jobs, self._job_of = jobs, {node: job for job in jobs for node in job.nodes}
        self._works, self._dispatcher = works, dispatcher
        self._needs = {job.name: parents_outside(pipeline, job) for job in jobs}
        self._skipped, self._on_done = done, on_done
        self._finished: set[str] = set()
        self._begun: set[str] = set()
        self._jobs_done: set[str] = set()
        self._started: set[str] = set()
        self._tasks: dict[str, Task] = {}
        self._futures: dict[str, Future[Node]] = {}
        self._lock = threading.RLock()
        self._local: queue.SimpleQueue[tuple[Task, Future[Node]] | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None

    def submit(self, task: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Takes a task of Kedro's scheduler, whose parents are done."""
        node: Node = task.node
        future: Future[Node] = Future()
        with self._lock:
            self._tasks[node.name], self._futures[node.name] = task, future
            job = self._job_of.get(node.name)
            if node.name in self._skipped or (job is not None and job.name in self._jobs_done):
                self._end(task, future)
            elif job is not None:
                self._start_ready_jobs()
            else:
                self._run_here(task, future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the thread once it has nothing to do; jobs are the dispatcher's."""
        self._local.put(None)

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        """Stops every job that still runs, whatever the reason to leave."""
        self.shutdown()
        with _undisturbed():
            left = self._dispatcher.close()
            if exc_type is not None:  # a node here may have jobs of its own, and goes on in its thread
                left += [name for other in open_dispatchers() for name in other.close()]
        if left:
            logger.error(
                "These jobs could not be stopped and end by their own time limit: %s. See 'kedro compute status'.",
                ", ".join(left),
            )

    # -- here ----------------------------------------------------------------------------------------------------------

    def _run_here(self, task: Task, future: Future[Node]) -> None:
        if self._worker is None:
            # A daemon: Ctrl-C must not wait for a node, but first stop what costs money.
            self._worker = threading.Thread(target=self._work, name="kedro-local", daemon=True)
            self._worker.start()
        self._local.put((task, future))

    def _work(self) -> None:
        while (item := self._local.get()) is not None:
            task, future = item
            try:
                node = task.execute()
                with self._lock:
                    self._finish(node.name)
                    self._start_ready_jobs()
            except BaseException as error:  # noqa: BLE001  (it is raised again where the run waits)
                fail(future, error)
            else:
                finish(future, node)

    # -- elsewhere -----------------------------------------------------------------------------------------------------

    def _start_ready_jobs(self) -> None:
        for job in self._jobs:
            waiting = [name for name in job.nodes if name in self._tasks]
            if job.name not in self._started and waiting and self._needs[job.name] <= self._finished:
                self._started.add(job.name)
                try:
                    for name in waiting:
                        self._begin(self._tasks[name])
                    outcome = self._dispatcher.submit(self._works[job.name])
                except BaseException as error:  # noqa: BLE001  (it is raised again where the run waits)
                    for name in waiting:
                        fail(self._futures[name], error)
                    continue
                outcome.add_done_callback(lambda done, job=job: self._job_ended(job, done))  # type: ignore[misc]

    def _job_ended(self, job: NodeJob, outcome: Future[Outcome]) -> None:
        error = outcome.exception()
        with self._lock:
            if error is None:
                self._jobs_done.add(job.name)
            for name in job.nodes:
                if name not in self._tasks:
                    continue  # the next one of a group: Kedro asks for it once this one is done
                if error is None:
                    self._end(self._tasks[name], self._futures[name])
                else:
                    _report_error(self._tasks[name], error)
                    fail(self._futures[name], error)

    def _begin(self, task: Task) -> None:
        self._begun.add(task.node.name)
        _hooks(task).before_node_run(
            node=task.node, catalog=task.catalog, inputs={}, is_async=task.is_async, run_id=task.run_id
        )

    def _end(self, task: Task, future: Future[Node]) -> None:
        try:
            if task.node.name not in self._begun:
                self._begin(task)
            _end_hooks(task)
            self._finish(task.node.name)
        except BaseException as error:  # noqa: BLE001  (a hook, an output that is not there, or a full disk)
            fail(future, error)
        else:
            finish(future, task.node)
            self._start_ready_jobs()

    def _finish(self, name: str) -> None:
        if name not in self._finished:
            self._finished.add(name)
            self._on_done(name)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Answers Ctrl-C and SIGTERM with a line: what is not stopped now goes on costing money."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def answer(number: int, frame: Any) -> None:
        os.write(2, b"The rented machines are being stopped; a moment.\n")  # a stream may be in use already

    before = {number: signal.signal(number, answer) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _end_hooks(task: Task) -> None:
    for name in task.node.outputs:
        task.catalog.release(name)  # what this process knew of it is from before
        # What is in memory alone passes from node to node within the job.
        if place_of(name, task.catalog).kept and not task.catalog.exists(name):
            raise JobError(
                f"{task.node.name}: its job succeeded, but {name!r} is not where the catalog keeps it. Both machines "
                "must reach the same place: see data.mounts in compute.yml and the paths of the catalog."
            )
    _hooks(task).after_node_run(
        node=task.node, catalog=task.catalog, inputs={}, outputs={}, is_async=task.is_async, run_id=task.run_id
    )
    for name in task.node.outputs:
        _hooks(task).before_dataset_saved(dataset_name=name, data=None, node=task.node)
        _hooks(task).after_dataset_saved(dataset_name=name, data=None, node=task.node)


def _report_error(task: Task, error: BaseException) -> None:
    with suppress(Exception):
        _hooks(task).on_node_error(
            error=error, node=task.node, catalog=task.catalog, inputs={}, is_async=task.is_async, run_id=task.run_id
        )


def _hooks(task: Task) -> Any:
    return task.hook_manager.hook  # type: ignore[union-attr]
