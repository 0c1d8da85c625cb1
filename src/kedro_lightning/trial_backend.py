"""Workers of a study as jobs on rented machines; entry point ``lightning`` of ``spelling_transfer.trial_backends``."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
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

WorkerState = Literal["starting", "running", "finished", "failed", "gone"]
_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")


class LightningTrialBackend:
    """Starts each worker as a job of its own, all of them watched by one loop.

    A worker that loses its machine is ``gone`` and not started again here: whoever asked for it knows what it had.
    Nothing is rented before the first worker is asked for.
    """

    def __init__(self, folder: Path) -> None:
        """Makes the back end of a study.

        Args:
            folder: The study's folder, which must be on a storage that the machines reach as well.
        """
        self._folder = folder
        self._run_id = f"study-{folder.name}"
        self._lock = threading.Lock()
        self._futures: dict[str, Future[Outcome]] = {}
        self._entries: dict[str, Entry] = {}
        self._current: dict[int, str] = {}
        self._ready: _Rented | None = None

    def check(self, project: Path, env: str | None) -> None:
        """Checks what can be checked without the platform.

        Args:
            project: The project's folder.
            env: The environment of the settings.

        Raises:
            ComputeError: The settings, the budget or the study's folder do not suffice.
        """
        loader = config_loader(project, env)
        _check(load_config(loader), self._folder, project, folder_settings(loader, project))

    def start(self, worker: int, command: Sequence[str], env: Mapping[str, str]) -> str:
        """Starts a worker; one that runs already is left alone.

        Raises:
            ComputeError: The settings, the budget or the storage do not allow it; nothing was started.
        """
        current = self._current.get(worker)
        if current is not None and not self._futures[current].done():
            return current
        ready = self._prepare()
        mapped = [self._there(part, ready) for part in command]
        _refuse_secrets([*mapped, *env.values()], ready.config)
        key = f"worker-{worker}-{hashlib.sha256(repr(mapped).encode()).hexdigest()[:8]}"

        def script(attempt: Attempt) -> str:
            folder = f"{self._run_id}-{key}"
            return job_script(mapped, ready.source, ready.config.data.mounts, attempt.limit_seconds, folder)

        tier = ready.config.tiers[ready.tier]
        work = Work(
            key=key,
            title=f"{self._run_id} worker {worker}",
            command=script,
            studio_id=ready.studio.id,
            machines=ready.machines,
            env=tuple(sorted({**ready.variables, **env}.items())),
            interruptible=tier.interruptible,
            longest_seconds=tier.longest_minutes * 60,
            expected_seconds=ready.config.trials.minutes * 60,
        )
        self._futures[key] = ready.dispatcher.submit(work)
        self._current[worker] = key
        return key

    def poll(self, ids: Sequence[str]) -> dict[str, WorkerState]:
        """Returns where each worker stands, from what the loop saw last; asks the platform nothing."""
        return {each: self._state(each) for each in ids}

    def stop(self, ids: Sequence[str]) -> None:
        """Stops workers, and with the last one everything that runs for this study."""
        if self._ready is None:
            return
        self._ready.dispatcher.cancel(set(ids))
        if all(future.done() or key in ids for key, future in self._futures.items()):
            self._ready.dispatcher.close()
            self._ready = None

    def _state(self, key: str) -> WorkerState:
        future = self._futures[key]
        if not future.done():
            with self._lock:
                entry = self._entries.get(key)
            return "running" if entry is not None and entry.state == "running" else "starting"
        error = future.exception()
        if error is None:
            return "finished"
        return "gone" if isinstance(error, InterruptedJobError) else "failed"

    def _there(self, part: str, ready: _Rented) -> str:
        """Returns an argument as the rented machine needs it: the study's folder below the copy of the project."""
        folder = str(self._folder.resolve())
        return part.replace(folder, ready.place) if folder in part else part

    def _prepare(self) -> _Rented:
        if self._ready is None:
            how = started()
            project = how.project if how is not None else _project()
            config = load_config(how.loader) if how is not None else load_project_config(project, None)
            folders = folder_settings(how.loader, project) if how is not None else []
            self._ready = self._rent(project, config, folders)
        return self._ready

    def _rent(self, project: Path, config: ComputeConfig, folders: list[FolderSetting]) -> _Rented:
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
                f"There is {what} for the workers of the study. See trials in compute.yml, and "
                "'kedro compute studios create'."
            )
        check_secrets(config, studios)
        if config.code.check_packages:
            check_installed(project, {config.trials.task: studio}, studios)
        jobs, ledger = JobsApi(connection), Ledger(project / config.ledger)
        for left in jobs.find_all(run_tag(self._run_id)):
            if not left.state.ended:  # of a driver that is gone; the study gives its trials to the new workers
                jobs.stop(left)

        def remember(entry: Entry) -> None:
            with self._lock:
                self._entries[entry.key] = entry
            ledger.record(self._run_id, entry, tier)

        dispatcher = Dispatcher(
            jobs,
            self._run_id,
            max_jobs=config.max_jobs,
            max_interruptions=0,
            pending_seconds=config.pending_minutes * 60,
            purse=Purse(config.budget.run_usd, ledger.spent(run_id=self._run_id)),
            on_entry=remember,
        )
        return _Rented(
            config,
            tier,
            fitting,
            studio,
            bring_code(project, config, studios, [studio], commit),
            place,
            config.variables_of(config.trials.task),
            dispatcher,
        )


class _Rented:
    """What all workers of a study share."""

    def __init__(
        self,
        config: ComputeConfig,
        tier: str,
        machines: tuple[Machine, ...],
        studio: StudioView,
        source: Source,
        place: str,
        variables: dict[str, str],
        dispatcher: Dispatcher,
    ) -> None:
        self.config, self.tier, self.machines, self.studio = config, tier, machines, studio
        self.source, self.place, self.variables, self.dispatcher = source, place, variables, dispatcher


def _check(config: ComputeConfig, folder: Path, project: Path, folders: list[FolderSetting]) -> tuple[str, str]:
    """Returns the tier of the workers and the study's folder as they see it."""
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
    """Returns the study's folder as a path below the project's copy on the machine, where it is mounted."""
    resolved = folder.resolve()
    for name, mount in config.data.mounts.items():
        for start in (project / name, Path(mount)):
            if resolved.is_relative_to(start.resolve()):
                return str(Path(name) / resolved.relative_to(start.resolve()))
    setting = setting_of(resolved, [replace(each, folder=each.folder.resolve()) for each in folders])
    named = f"{setting.name} in {setting.file}" if setting is not None else "the folder of studies"
    raise PreflightError(
        f"The study's folder {folder} is on this machine alone, and workers on rented machines need it. Set {named} to "
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
