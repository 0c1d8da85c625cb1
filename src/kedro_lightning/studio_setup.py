"""Setting up Studios: made if missing, started, taken through the steps of their environment, put to sleep again.

A step is built in or comes by the entry point ``kedro_compute.studio_plugins``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from .code import make_bundle
from .config import ComputeConfig, Environment, StudioSettings
from .errors import ComputeError, SettingsError
from .job_script import MONITOR
from .packages import INSTALLED_FILE, differences, distribution_of, installed_json, package_versions
from .platform.machines import known_machine
from .platform.studios import StudiosApi, StudioView

GROUP = "kedro_compute.studio_plugins"
_SHOWN_CHARACTERS = 1500
_PIP = "python -m pip install --quiet --disable-pip-version-check"
_KEY_NAMES = {"s3://": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
_LIST = """
import importlib.metadata as m, json, sys
found = {}
for name in json.loads(sys.argv[1]):
    try:
        found[name] = m.version(name).partition("+")[0]
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True)
class StudioContext:
    """A running Studio, and what it is to become."""

    api: StudiosApi
    studio: StudioView
    task: str
    settings: StudioSettings
    environment: Environment
    config: ComputeConfig
    project: Path

    def run(self, command: str) -> str:
        """Runs one command in the Studio and returns what it printed.

        Raises:
            ComputeError: Its exit code is not 0.
        """
        output, code = self.api.run(self.studio, command)
        if code != 0:
            raise ComputeError(
                f"Studio {self.studio.name}: exit code {code} from: {command.splitlines()[0][:120]}\n"
                f"{output.strip()[-_SHOWN_CHARACTERS:]}"
            )
        return output

    def upload(self, content: bytes, place: str) -> None:
        """Puts a file among those of the Studio."""
        self.api.upload(self.studio, content, place)


class StudioStep(Protocol):
    """A step of the set-up. Each method may be called again and then changes nothing."""

    def install(self, context: StudioContext) -> None:
        """Puts what is needed onto the Studio's disk."""
        ...

    def configure(self, context: StudioContext) -> None:
        """Sets variables and settings."""
        ...

    def check(self, context: StudioContext) -> list[str]:
        """Returns what is wrong, a line each; nothing if the Studio is as declared."""
        ...


def set_up(
    api: StudiosApi, config: ComputeConfig, task: str, project: Path, say: Callable[[str], None] = lambda text: None
) -> list[str]:
    """Makes one Studio what the settings declare; running it again repairs what differs.

    The machine is stopped at the end whatever happens, unless it ran before. Returns what is wrong then, a line each;
    nothing if the Studio is as declared.

    Raises:
        ComputeError: A step failed.
    """
    settings = config.studio_of(task)
    environment = config.environments[settings.environment]
    machine = known_machine(settings.machine)
    if machine is None:
        raise SettingsError(f"compute: studios.{task}.machine: there is no machine {settings.machine!r}.")
    steps = load_steps(environment.plugins)
    studio = api.create(settings.name)
    say(f"{settings.name}: starting on {machine.name}")
    try:
        api.start(studio, machine.slug)
        api.set_sleep(studio, settings.idle_minutes)
        context = StudioContext(api, studio, task, settings, environment, config, project)
        problems: list[str] = []
        for name, step in steps.items():
            say(f"{settings.name}: {name}")
            step.install(context)
            step.configure(context)
            problems += step.check(context)
    finally:
        if not studio.running:  # as it was before
            api.stop(studio)
    return problems


class EnvironmentStep:
    """Installs the declared packages, or the direct dependencies of the project as they are here, and the variables."""

    def install(self, context: StudioContext) -> None:
        """Installs what is missing or of another version; where nothing is, pip does not run at all."""
        wanted = package_versions(context.project)
        if context.environment.packages:
            _pip_install(context, context.environment.packages)
        elif differences(_installed(context, wanted), wanted):
            _pip_install(context, [f"{name}=={version}" for name, version in sorted(wanted.items())])
        name = distribution_of(context.project)
        if name and name not in _installed(context, [name]):
            bundle = make_bundle(context.project, context.config.code)
            context.upload(bundle.content, bundle.place)
            folder = ".kedro-compute/project"
            context.run(f"mkdir -p {folder} && tar -xzf {bundle.place} -C {folder} && {_PIP} --no-deps ./{folder}")

    def configure(self, context: StudioContext) -> None:
        """Sets the variables and runs the commands of the start-up, each on its own."""
        if context.environment.variables:
            context.api.set_variables(context.studio, context.environment.variables)
        for command in context.environment.startup:
            context.run(command)

    def check(self, context: StudioContext) -> list[str]:
        """Compares the versions of the project's direct dependencies, and records them for later runs."""
        if context.api.run(context.studio, f"python -c 'import {__package__}.runner'")[1] != 0:
            # A project that is not installed here says nothing of what it needs.
            task = context.config.studios[context.task]
            return [
                "packages: neither Kedro nor this plugin can be imported there, and every job needs both. Install the "
                f"project here with them as dependencies, or name them in environments.{task.environment}.packages"
            ]
        wanted = package_versions(context.project)
        if not wanted:
            return []
        there = _installed(context, wanted)
        context.upload(installed_json(there, context.project), INSTALLED_FILE)
        if context.environment.packages:
            return []  # chosen by hand: compared before each run (code.check_packages)
        return [f"packages: {line}" for line in differences(there, wanted)]


class MonitoringStep:
    """Puts the monitor among the files of the Studio; every job started from it then runs it."""

    def install(self, context: StudioContext) -> None:
        """Uploads the monitor."""
        context.upload(Path(__file__).with_name("monitor.py").read_bytes(), MONITOR)

    def configure(self, context: StudioContext) -> None:
        """Has nothing to set."""

    def check(self, context: StudioContext) -> list[str]:
        """Checks that the monitor is there and runs."""
        output, code = context.api.run(context.studio, f"python {MONITOR} --once")
        return [] if code == 0 else [f"monitoring: {MONITOR} does not run: {output.strip()[-200:]}"]


class DataMountStep:
    """Makes the mounted folders and checks that they can be used.

    A connection to a bucket cannot be made from the SDK: mount one on the platform's pages, or keep the key of the
    bucket in the platform's store of secrets.
    """

    def install(self, context: StudioContext) -> None:
        """Makes the folders."""
        for place in context.config.data.mounts.values():
            context.run(f"mkdir -p {shlex.quote(place)}")

    def configure(self, context: StudioContext) -> None:
        """Has nothing to set: each job links the folders into its copy of the project."""

    def check(self, context: StudioContext) -> list[str]:
        """Writes and removes a file in each folder, and looks for the names of keys."""
        problems = []
        for name, place in context.config.data.mounts.items():
            probe = shlex.quote(f"{place}/.kedro-compute-probe-{context.task}")
            if context.api.run(context.studio, f"touch {probe} && rm {probe}")[1] != 0:
                problems.append(f"data.mounts.{name}: {place} cannot be written there")
        secrets = set(context.config.secrets)
        for names in _KEY_NAMES.values():
            declared = secrets & set(names)
            if declared and declared != set(names):
                missing = ", ".join(sorted(set(names) - declared))
                problems.append(f"secrets: {', '.join(sorted(declared))} without {missing}")
        return problems


_BUILT_IN: dict[str, type[StudioStep]] = {
    "environment": EnvironmentStep, "monitoring": MonitoringStep, "data_mount": DataMountStep,
}  # fmt: skip


def load_steps(names: tuple[str, ...]) -> Mapping[str, StudioStep]:
    """Returns the steps of these names, in this order.

    Raises:
        SettingsError: There is none of a name.
    """
    others = {entry.name: entry for entry in entry_points(group=GROUP)}
    if unknown := [name for name in names if name not in others and name not in _BUILT_IN]:
        known = ", ".join(sorted({*_BUILT_IN, *others}))
        raise SettingsError(f"compute: environments: plugins: there is no {unknown[0]!r}. Known: {known}.")
    return {name: (others[name].load() if name in others else _BUILT_IN[name])() for name in names}


def _installed(context: StudioContext, names: Collection[str]) -> dict[str, str]:
    """Returns the versions of packages in the Studio, of those that it has."""
    listed = context.run(f"python -c {shlex.quote(_LIST)} {shlex.quote(json.dumps(sorted(names)))}")
    found: dict[str, str] = json.loads(listed.strip().splitlines()[-1])
    return found


def _pip_install(context: StudioContext, requirements: Collection[str]) -> None:
    context.run(f"{_PIP} {' '.join(shlex.quote(requirement) for requirement in requirements)}")
