"""Commands as jobs of their own, beside those of a pipeline, such as the workers of a search over many machines."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import uuid
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .code import Source
from .config import ComputeConfig, config_loader, load_config
from .costs import refresh
from .errors import InterruptedJobError, PreflightError, SettingsError
from .hooks import RunContext, compute_hook
from .job_script import job_script
from .jobs.dispatch import Dispatcher
from .jobs.starting import RunBudget
from .jobs.work import Attempt, Entry, Outcome, Work, run_tag
from .node_jobs import machines_of
from .places import is_reached
from .platform.jobs import JobsApi
from .platform.machines import Machine
from .platform.studios import StudiosApi, StudioView
from .preflight import check_budget_is_set, commit_of, open_market, ready_studios

CommandState = Literal["starting", "running", "finished", "failed", "gone"]
"""``finished``: exit code 0; ``failed``: another one; ``gone``: the machine was taken away, or the job stopped."""

_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")


@dataclass(frozen=True)
class Template:
    """A usual kind of job: the platform has neither templates nor priorities, so both are here.

    ``priority`` is the expected impact of one job; a job that others wait for comes before one that only informs.
    """

    priority: float
    expected_minutes: float
    longest_minutes: int
    description: str


TEMPLATES: Mapping[str, Template] = {
    "single": Template(5.0, 60, 480, "one command, such as a training that is run once"),
    "grid": Template(3.0, 30, 240, "one of many commands that differ in a setting"),
    "sweep_worker": Template(4.0, 180, 720, "takes trials from a study until there are none"),
    "evaluation": Template(8.0, 20, 120, "answers with a trained model; reports wait for it"),
    "deployment": Template(10.0, 15, 60, "checks an endpoint; nothing is served before it"),
}


class CommandJobs:
    """Runs commands as jobs, all of them watched by one loop; ``trials`` in ``compute.yml`` says on what machines.

    A command that loses its machine is ``gone`` and not started again: whoever started it knows what it had done.
    Nothing is rented before the first command is started.
    """

    def __init__(self, name: str, place: str) -> None:
        """Makes a set of commands; nothing is asked of the platform yet.

        Args:
            name: Name of the set: its jobs carry it, and its costs are kept under it.
            place: Where the commands find and leave their data: a URL, or a folder below one of ``data.mounts``,
                relative to the project, as each command has it in its working folder.
        """
        self._name, self._place = name, place
        self._lock = threading.Lock()
        self._futures: dict[str, Future[Outcome]] = {}
        self._entries: dict[str, Entry] = {}
        self._latest: dict[str, str] = {}
        self._ready: _Ready | None = None

    def check(self, project: Path, env: str | None) -> None:
        """Checks what can be checked without the platform.

        Args:
            project: The project's folder.
            env: The environment of the settings.

        Raises:
            ComputeError: The settings, the budget or the place do not suffice.
        """
        _check(load_config(config_loader(project, env or os.environ.get("KEDRO_ENV"))), self._place)

    def start(
        self,
        label: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        template: str | None = None,
        after: Collection[str] = (),
        impact: float = 1.0,
    ) -> str:
        """Starts a command; one of this label that still runs is left alone.

        Args:
            label: What people call it, such as ``worker 3``.
            command: Program and arguments.
            env: Variables to set, beside those of ``compute.yml``.
            template: One of ``TEMPLATES``: how urgent it is, how long it takes; by default what ``trials`` says.
            after: Keys of commands that must have ended well first.
            impact: Expected worth among commands of its kind; what has more starts first.

        Returns:
            The key of the command for the other methods.

        Raises:
            ComputeError: The settings, the budget or the place do not allow it; nothing was started.
        """
        if template is not None and template not in TEMPLATES:
            raise SettingsError(f"There is no job template {template!r}. Known: {', '.join(TEMPLATES)}.")
        latest = self._latest.get(label)
        if latest is not None and not self._futures[latest].done():
            return latest
        ready = self.prepare()
        variables = env or {}
        _refuse_secrets([*command, *variables.values()], ready.config)
        digest = hashlib.sha256(repr(list(command)).encode()).hexdigest()[:8]
        # Another key at each start: a command that is started again must not be taken for the job it had before.
        key = f"{label.replace(' ', '-')}-{digest}{uuid.uuid4().hex[:6]}"

        def script(attempt: Attempt) -> str:
            folder = f"{self._name}-{key}"
            return job_script(command, ready.source, ready.config.data.mounts, attempt.limit_seconds, folder)

        tier = ready.config.tiers[ready.tier]
        kind = TEMPLATES[template] if template else Template(1.0, ready.config.trials.minutes, tier.longest_minutes, "")
        work = Work(
            key=key,
            title=f"{self._name} {label}",
            command=script,
            studio_id=ready.studio.id,
            machines=ready.machines,
            env=tuple(sorted({**ready.config.variables_of(ready.config.trials.task), **variables}.items())),
            interruptible=tier.interruptible,
            longest_seconds=min(tier.longest_minutes, kind.longest_minutes) * 60,
            expected_seconds=kind.expected_minutes * 60,
            priority=kind.priority * impact,
            after=tuple(after),
        )
        self._futures[key] = ready.dispatcher.submit(work)
        self._latest[label] = key
        return key

    def state(self, key: str) -> CommandState:
        """Returns where a command stands, from what the loop saw last; asks the platform nothing."""
        future = self._futures[key]
        if not future.done():
            with self._lock:
                entry = self._entries.get(key)
            return "running" if entry is not None and entry.state == "running" else "starting"
        error = future.exception()
        if error is None:
            return "finished"
        return "gone" if isinstance(error, InterruptedJobError) else "failed"

    def stop(self, keys: Collection[str] | None = None) -> None:
        """Stops commands, all of them if left out; with the last one, everything that runs under this name."""
        keys = set(self._futures) if keys is None else set(keys)
        if self._ready is None:
            return
        self._ready.dispatcher.cancel(keys)
        if all(future.done() or key in keys for key, future in self._futures.items()):
            self._ready.dispatcher.close()
            self._ready = None

    def prepare(self) -> _Ready:
        """Checks all that must be right before money is spent and brings the code to the Studio; rents nothing.

        Raises:
            ComputeError: Something is missing; the message says what, and where to set it.
        """
        self._ready = self._ready or self._open()
        return self._ready

    def _open(self) -> _Ready:
        context = compute_hook.context or _context_outside_a_run()
        project, config = context.project, load_config(context.loader)
        tier = _check(config, self._place)
        commit = commit_of(project, config)
        market = open_market(project, config)
        machines = machines_of(tier, config.trials.gpu_gigabytes, "trials.gpu_gigabytes", config, market.prices)
        task = config.trials.task
        studios, source = ready_studios(project, config, StudiosApi(market.connection), [task], commit)
        jobs = JobsApi(market.connection)
        for left in jobs.find_all(run_tag(self._name)):
            if not left.state.ended:  # of a driver that is gone; its work is given to the new ones
                jobs.stop(left)
        # What they cost is a part of the budget, also where nobody watched them to their end.
        refresh(market.ledger, JobsApi(market.connection, lists_several=True), running_only=True)

        def remember(entry: Entry) -> None:
            with self._lock:
                self._entries[entry.key] = entry
            market.ledger.record(self._name, entry, tier)

        dispatcher = Dispatcher(
            jobs,
            self._name,
            max_jobs=config.max_jobs,
            max_interruptions=0,
            pending_seconds=config.pending_minutes * 60,
            budget=RunBudget(config.budget.run_usd or 0.0, market.ledger.spent(run_id=self._name)),
            on_entry=remember,
        )
        return _Ready(config, tier, tuple(machines), studios[task], source, dispatcher)


@dataclass(frozen=True)
class _Ready:
    """What all commands of a set share."""

    config: ComputeConfig
    tier: str
    machines: tuple[Machine, ...]
    studio: StudioView
    source: Source
    dispatcher: Dispatcher


def _check(config: ComputeConfig, place: str) -> str:
    """Returns the tier of the commands."""
    tier = config.trials.tier or config.tags.get("gpu")
    if tier is None:
        raise SettingsError("compute: trials.tier: not set, and no tag 'gpu' names a tier either (compute.yml).")
    if not is_reached(place, config.data):
        raise PreflightError(
            f"{place}: rented machines do not reach it. Name a place in a bucket of yours (s3://…), or a folder below "
            "one of data.mounts (compute.yml), relative to the project."
        )
    check_budget_is_set(config)
    if config.trials.task not in config.studios:
        known = ", ".join(config.studios) or "none"
        raise SettingsError(f"compute: trials.task: there is no task {config.trials.task!r}. Known: {known}.")
    if config.tiers[tier].num_machines > 1:
        raise SettingsError(f"compute: trials.tier: {tier!r} has several machines a job; a command uses one.")
    return tier


def _refuse_secrets(texts: Sequence[str], config: ComputeConfig) -> None:
    values = {name: os.environ.get(name, "") for name in config.secrets}
    for text in texts:
        if _PASSWORD.search(text):
            raise PreflightError(
                "An argument or a variable of a command holds an address with a password, which the platform would "
                "keep and show. Put the password into the platform's store: secrets in compute.yml."
            )
        for name, value in values.items():
            if value and value in text:
                raise PreflightError(f"An argument or a variable of a command holds the secret {name}.")


def _context_outside_a_run() -> RunContext:
    from kedro.utils import find_kedro_project

    project = Path(find_kedro_project(Path.cwd()) or Path.cwd())
    return RunContext(project, config_loader(project, os.environ.get("KEDRO_ENV")))
