"""Commands as jobs of their own, beside those of a pipeline, such as the workers of a search over many machines."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .code import pushed_commit
from .command import Source, job_script
from .config import ComputeConfig
from .errors import BudgetError, InterruptedJobError, PreflightError, SettingsError
from .folders import FolderSetting, folder_settings, setting_of
from .hooks import started
from .installed import check_installed
from .jobs.dispatch import Dispatcher
from .jobs.money import Purse
from .jobs.work import Attempt, Entry, Outcome, Work, run_tag
from .ledger import Ledger
from .loading import config_loader, load_config, load_project_config
from .plan import machines_of
from .platform.client import connect
from .platform.jobs import JobsApi
from .platform.machines import Machine
from .platform.studios import StudiosApi, StudioView
from .prepare import bring_code, check_secrets, current_prices
from .units import Unit

CommandState = Literal["starting", "running", "finished", "failed", "gone"]
"""``finished``: exit code 0; ``failed``: another one; ``gone``: the machine was taken away, or the job stopped."""

_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")


class CommandJobs:
    """Runs commands as jobs, all of them watched by one loop; ``trials`` in ``compute.yml`` says on what machines.

    A command that loses its machine is ``gone`` and not started again: whoever started it knows what it had done.
    Nothing is rented before the first command is started.
    """

    def __init__(self, name: str, folder: Path) -> None:
        """Makes a set of commands; nothing is asked of the platform yet.

        Args:
            name: Name of the set: its jobs carry it, and its costs are kept under it.
            folder: Where the commands work. The machines must see this folder as well; where an argument names it, a
                job gets the path that the machine has for it.
        """
        self._name, self._folder = name, folder
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
            ComputeError: The settings, the budget or the folder do not suffice.
        """
        loader = config_loader(project, env)
        _check(load_config(loader), self._folder, project, folder_settings(loader, project))

    def start(self, label: str, command: Sequence[str], env: Mapping[str, str]) -> str:
        """Starts a command; one of this label that still runs is left alone.

        Args:
            label: What people call it, such as ``worker 3``.
            command: Program and arguments.
            env: Variables to set, beside those of ``compute.yml``.

        Returns:
            The key of the command for the other methods.

        Raises:
            ComputeError: The settings, the budget or the folder do not allow it; nothing was started.
        """
        latest = self._latest.get(label)
        if latest is not None and not self._futures[latest].done():
            return latest
        ready = self._prepare()
        mapped = [part.replace(str(self._folder.resolve()), ready.place) for part in command]
        _refuse_secrets([*mapped, *env.values()], ready.config)
        key = f"{label.replace(' ', '-')}-{hashlib.sha256(repr(mapped).encode()).hexdigest()[:8]}"

        def script(attempt: Attempt) -> str:
            folder = f"{self._name}-{key}"
            return job_script(mapped, ready.source, ready.config.data.mounts, attempt.limit_seconds, folder)

        tier = ready.config.tiers[ready.tier]
        work = Work(
            key=key,
            title=f"{self._name} {label}",
            command=script,
            studio_id=ready.studio.id,
            machines=ready.machines,
            env=tuple(sorted({**ready.variables, **env}.items())),
            interruptible=tier.interruptible,
            longest_seconds=tier.longest_minutes * 60,
            expected_seconds=ready.config.trials.minutes * 60,
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

    def stop(self, keys: Sequence[str]) -> None:
        """Stops commands, and with the last one everything that runs under this name."""
        if self._ready is None:
            return
        self._ready.dispatcher.cancel(set(keys))
        if all(future.done() or key in keys for key, future in self._futures.items()):
            self._ready.dispatcher.close()
            self._ready = None

    def _prepare(self) -> _Ready:
        if self._ready is None:
            how = started()
            project = how.project if how is not None else _project()
            config = load_config(how.loader) if how is not None else load_project_config(project, None)
            folders = folder_settings(how.loader, project) if how is not None else []
            self._ready = self._rent(project, config, folders)
        return self._ready

    def _rent(self, project: Path, config: ComputeConfig, folders: list[FolderSetting]) -> _Ready:
        tier, place = _check(config, self._folder, project, folders)
        commit = pushed_commit(project, config.data.bundled) if config.code.mode == "git" else None
        connection = connect(config.teamspace)
        prices = current_prices(connection, project)
        machines = tuple(machines_of(Unit("trials", tier, config.trials.task, ("trials",)), config, prices))
        fitting = tuple(machine for machine in machines if machine.gpu_gigabytes >= config.trials.gpu_gigabytes)
        studios = StudiosApi(connection)
        settings = config.studios[config.trials.task]
        studio = studios.find(settings.name)
        if studio is None or not fitting:
            what = (
                f"no Studio {settings.name}" if studio is None else f"no machine with {config.trials.gpu_gigabytes} GB"
            )
            raise PreflightError(
                f"There is {what} for commands of {self._name}. See trials in compute.yml, and "
                "'kedro compute studios create'."
            )
        check_secrets(config, studios)
        if config.code.check_packages:
            check_installed(project, {config.trials.task: studio}, studios)
        jobs, ledger = JobsApi(connection), Ledger(project / config.ledger)
        for left in jobs.find_all(run_tag(self._name)):
            if not left.state.ended:  # of a driver that is gone; its work is given to the new ones
                jobs.stop(left)

        def remember(entry: Entry) -> None:
            with self._lock:
                self._entries[entry.key] = entry
            ledger.record(self._name, entry, tier)

        dispatcher = Dispatcher(
            jobs,
            self._name,
            max_jobs=config.max_jobs,
            max_interruptions=0,
            pending_seconds=config.pending_minutes * 60,
            purse=Purse(config.budget.run_usd, ledger.spent(run_id=self._name)),
            on_entry=remember,
        )
        source = bring_code(project, config, studios, [studio], commit)
        variables = config.variables_of(config.trials.task)
        return _Ready(config, tier, fitting, studio, source, place, variables, dispatcher)


@dataclass(frozen=True)
class _Ready:
    """What all commands of a set share."""

    config: ComputeConfig
    tier: str
    machines: tuple[Machine, ...]
    studio: StudioView
    source: Source
    place: str
    variables: dict[str, str]
    dispatcher: Dispatcher


def _check(config: ComputeConfig, folder: Path, project: Path, folders: list[FolderSetting]) -> tuple[str, str]:
    """Returns the tier of the commands, and their folder as the machines see it."""
    tier, place = _tier(config), _place(folder, project, config, folders)
    if config.budget.run_usd is None:
        raise BudgetError("compute: budget.run_usd: not set, so no worker is started on a rented machine.")
    if config.trials.task not in config.studios:
        known = ", ".join(config.studios) or "none"
        raise SettingsError(f"compute: trials.task: there is no task {config.trials.task!r}. Known: {known}.")
    if config.tiers[tier].num_machines > 1:
        raise SettingsError(f"compute: trials.tier: {tier!r} has several machines a job; a worker uses one.")
    return tier, place


def _tier(config: ComputeConfig) -> str:
    tier = config.trials.tier or config.tags.get("gpu")
    if tier is None:
        raise SettingsError("compute: trials.tier: not set, and no tag 'gpu' names a tier either (compute.yml).")
    return tier


def _place(folder: Path, project: Path, config: ComputeConfig, folders: list[FolderSetting]) -> str:
    """Returns the folder as a path below the project's copy on the machine, where it is mounted."""
    resolved = folder.resolve()
    for name, mount in config.data.mounts.items():
        for start in (project / name, Path(mount)):
            if resolved.is_relative_to(start.resolve()):
                return str(Path(name) / resolved.relative_to(start.resolve()))
    setting = setting_of(resolved, [replace(each, folder=each.folder.resolve()) for each in folders])
    named = f"{setting.name} in {setting.file}" if setting is not None else "the setting of this folder"
    raise PreflightError(
        f"The folder {folder} is on this machine alone, and workers on rented machines need it. Set {named} to "
        "a folder that this machine and they see, and name that folder in data.mounts of compute.yml."
    )


def _refuse_secrets(texts: Sequence[str], config: ComputeConfig) -> None:
    values = {name: os.environ.get(name, "") for name in config.secrets}
    for text in texts:
        if _PASSWORD.search(text):
            raise PreflightError(
                "An argument or a variable of a worker holds an address with a password, which the platform would keep "
                "and show. Put the password into the platform's store: secrets in compute.yml."
            )
        for name, value in values.items():
            if value and value in text:
                raise PreflightError(f"An argument or a variable of a worker holds the secret {name}.")


def _project() -> Path:
    from kedro.utils import find_kedro_project

    return Path(find_kedro_project(Path.cwd()) or Path.cwd())
