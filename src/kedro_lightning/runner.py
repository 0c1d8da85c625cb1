"""The runners: nodes with a tag of ``compute.yml`` run on rented machines, the rest runs here; and what a job runs."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.io.core import is_parameter
from kedro.runner import AbstractRunner, SequentialRunner

from .config import ComputeConfig, load_config
from .errors import ComputeError
from .hooks import RunContext, context_of
from .jobs.dispatch import Dispatcher
from .jobs.logs import ENVIRONMENT_DIFFERS
from .jobs.work import Entry
from .node_executor import NodeExecutor
from .node_jobs import NodeJob, make_node_jobs
from .packages import differences_from_the_run
from .places import place_of
from .platform.jobs import MARK, JobsApi, JobView
from .preflight import Ready, preflight
from .run_state import FOLDER, RunState, StateFile, read_state, state_path
from .variables import RUN_ID_VARIABLE

if TYPE_CHECKING:
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline
    from pluggy import PluginManager

kedro_logger = logging.getLogger(SequentialRunner.__module__)  # a project that quiets Kedro means its runner too
job_logger = logging.getLogger("kedro.compute.jobs")  # as quiet as Kedro's own; --verbose shows both


class _PartOfARun:
    """In a process that does a part of a run, such as a job, everything is under the id of that run."""

    @property
    def _logger(self) -> logging.Logger:
        return kedro_logger

    def run(self, pipeline: Pipeline, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Runs a pipeline.

        Raises:
            ComputeError: Something is missing before anything starts, or a job failed.
        """
        if run_id := os.environ.get(RUN_ID_VARIABLE):
            kwargs["run_id"] = run_id
        found: dict[str, Any] = super().run(pipeline, *args, **kwargs)  # type: ignore[misc]
        return found


class StudioRunner(_PartOfARun, AbstractRunner):
    """Sends nodes to rented machines by their tags; without such nodes it is Kedro's ``SequentialRunner``."""

    def __init__(self, is_async: bool = False, here: Collection[str] = ()) -> None:
        """Makes the runner; all settings are in ``compute.yml``.

        Args:
            is_async: As with other runners, for the nodes that run here.
            here: Nodes that run here whatever their tags say, such as one that starts jobs of its own.
        """
        super().__init__(is_async=is_async)
        self.here = [here] if isinstance(here, str) else list(here)  # --runner-params=here=NODE
        self._executor: NodeExecutor | None = None

    def __str__(self) -> str:
        """Says what it stands for: Kedro-Viz follows a run only where it reads the sequential runner's name."""
        return f"<StudioRunner in place of a {SequentialRunner.__module__}.SequentialRunner object>"

    def _get_executor(self, max_workers: int) -> Executor | None:
        return self._executor

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol[Any, Any],
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        context = context_of(hook_manager)
        run_id = run_id or "run"
        earlier = None
        if context is not None and state_path(context.project, run_id).is_file():
            earlier = read_state(context.project, run_id)
            self.here = earlier.here
        config = load_config(context.loader) if context is not None else ComputeConfig()
        jobs = make_node_jobs(pipeline, config, self.here)
        if not jobs or context is None:
            super()._run(pipeline, catalog, hook_manager, run_id)
            return
        done = _still_done(set(earlier.done), pipeline, catalog) if earlier is not None else set()
        ready = preflight(pipeline, jobs, catalog, config, context, run_id, done)
        _check_same_code(earlier, ready)
        state = StateFile(context.project, earlier or _new_state(run_id, context, config, ready.code, self.here))
        state.write()
        _name_orphans(ready, state.state)
        click.echo(_announcement(ready), err=True)
        self._executor = NodeExecutor(
            pipeline,
            jobs,
            ready.works,
            _dispatcher(ready, config, jobs, state, context.project, attach=earlier is not None),
            done=done,
            on_done=lambda node: state.write(done=[node]),
        )
        try:
            with _terminated_like_interrupted():
                super()._run(pipeline, catalog, hook_manager, run_id)
        finally:
            self._executor = None
        state.write(finished=True)


class JobRunner(_PartOfARun, SequentialRunner):
    """Runs a part of a run on a rented machine, under the id of that run, with the packages of its driver."""

    def run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol[Any, Any],
        hook_manager: PluginManager | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Runs the nodes of a job.

        Raises:
            SystemExit: 78 where this machine has other packages than the driver.
        """
        context = context_of(hook_manager)
        if context is not None and load_config(context.loader, in_job=True).code.check_packages:
            _check_packages(context.project)
        return super().run(pipeline, catalog, hook_manager, *args, **kwargs)

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol[Any, Any],
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        if int(os.environ.get("NODE_RANK") or 0) == 0:
            super()._run(pipeline, catalog, hook_manager, run_id)
            return
        # The other machines of a distributed job take part in the work; what it makes is saved by the first alone.
        made: dict[str, Any] = {}
        for node in pipeline.nodes:
            made.update(node.run({name: made[name] if name in made else catalog.load(name) for name in node.inputs}))


def orphans(api: JobsApi, known_running: set[str]) -> list[JobView]:
    """Returns jobs of this plugin that run although no driver here says so."""
    return [job for job in api.find_all(MARK) if not job.state.ended and job.id not in known_running]


def _check_packages(project: Path) -> None:
    if problems := differences_from_the_run(project):
        click.echo("The packages of this machine differ from those of the run:\n" + "\n".join(problems))
        raise SystemExit(ENVIRONMENT_DIFFERS)


def _dispatcher(
    ready: Ready, config: ComputeConfig, jobs: list[NodeJob], state: StateFile, project: Path, *, attach: bool
) -> Dispatcher:
    run_id = state.state.run_id
    logs = project / FOLDER / "logs" / run_id
    tiers = {job.name: job.tier for job in jobs}
    lock = threading.Lock()

    def on_entry(entry: Entry) -> None:
        state.write(job=entry)
        ready.ledger.record(run_id, entry, tiers.get(entry.key, ""))
        if not entry.note:
            price = f" at {entry.usd_per_hour:.2f} USD/h" if entry.state == "running" else ""
            cost = f", {entry.seconds:.0f} s, {entry.cost_usd:.4f} USD" if entry.state == "completed" else ""
            click.echo(f"{entry.title}: {entry.state} on {entry.machine}{price}{cost}", err=True)

    def on_line(title: str, line: str) -> None:
        job_logger.info("[%s] %s", title, line)
        with lock:
            logs.mkdir(parents=True, exist_ok=True)
            with (logs / f"{title}.log").open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    return Dispatcher(
        JobsApi(ready.connection),
        run_id,
        max_jobs=config.max_jobs,
        max_interruptions=config.max_interruptions,
        pending_seconds=config.pending_minutes * 60,
        budget=ready.budget,
        attach=attach,
        on_entry=on_entry,
        on_line=on_line,
    )


def _new_state(run_id: str, context: RunContext, config: ComputeConfig, code: str, here: list[str]) -> RunState:
    passed_on = {name: os.environ[name] for name in config.pass_on if os.environ.get(name)}
    options = {**context.options, "env": context.env, "params": context.params}
    return RunState(run_id, options, code=code, here=here, variables=passed_on)


def _check_same_code(earlier: RunState | None, ready: Ready) -> None:
    if earlier is not None and earlier.code != ready.code:
        raise ComputeError(
            f"Run {earlier.run_id} was started with other code ({earlier.code[:19]}) than there is now "
            f"({ready.code[:19]}): its parts would not fit together. Begin a new run, or go back to that code."
        )


def _still_done(done: set[str], pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> set[str]:
    """Returns the nodes of an earlier driver that need not run again: all they made is kept, and still there."""
    found = set()
    for node in pipeline.nodes:
        if node.name in done:
            outputs = [name for name in node.outputs if not is_parameter(name)]
            if all(place_of(name, catalog).kept and catalog.exists(name) for name in outputs):
                found.add(node.name)
    return found


def _name_orphans(ready: Ready, state: RunState) -> None:
    known = {str(job["job_id"]) for job in state.jobs.values()}
    left = orphans(JobsApi(ready.connection, lists_several=True), known)
    if left:
        click.echo(
            f"Still running from an earlier run, and costing money: {', '.join(job.name for job in left)}. "
            "End them with 'kedro compute stop --all', or resume their run: its command again, with the variable "
            f"{RUN_ID_VARIABLE}=RUN_ID, which names a file in {FOLDER}/runs.",
            err=True,
        )


def _announcement(ready: Ready) -> str:
    jobs = len(ready.plan.rented)
    return f"{jobs} {'job' if jobs == 1 else 'jobs'} on rented machines, about {ready.plan.usd:.2f} USD."


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Lets SIGTERM stop the machines as Ctrl-C does; its default would leave them running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
