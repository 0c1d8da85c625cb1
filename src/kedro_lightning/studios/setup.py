"""Setting up Studios: made if missing, started, installed, configured, checked, and put to sleep again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config import ComputeConfig
from ..errors import SettingsError
from ..platform.machines import known_machine
from ..platform.studios import StudiosApi
from .plugin import StudioContext, load_plugins


@dataclass(frozen=True)
class SetUp:
    """What became of a Studio; it is as declared if there are no problems."""

    task: str
    name: str
    problems: tuple[str, ...]


def set_up(
    api: StudiosApi, config: ComputeConfig, task: str, project: Path, say: Callable[[str], None] = lambda text: None
) -> SetUp:
    """Makes one Studio what the settings declare; running it again repairs what differs.

    The machine is stopped at the end whatever happens, unless it ran before.

    Raises:
        ComputeError: A step failed.
    """
    if task not in config.studios:
        known = ", ".join(config.studios) or "none"
        raise SettingsError(f"compute: studios: there is no task {task!r}. Known: {known}.")
    settings = config.studios[task]
    environment = config.environments[settings.environment]
    machine = known_machine(settings.machine)
    if machine is None:
        raise SettingsError(f"compute: studios.{task}.machine: there is no machine {settings.machine!r}.")
    plugins = load_plugins(environment.plugins)
    studio = api.create(settings.name)
    was_running = studio.running
    say(f"{settings.name}: starting on {machine.name}")
    try:
        api.start(studio, machine.slug)
        api.set_sleep(studio, settings.idle_minutes)
        context = StudioContext(api, studio, task, settings, environment, config, project)
        problems: list[str] = []
        for name, plugin in plugins.items():
            say(f"{settings.name}: {name}")
            plugin.install(context)
            plugin.configure(context)
            problems += plugin.check(context)
    finally:
        if not was_running:
            api.stop(studio)
    return SetUp(task, settings.name, tuple(problems))
