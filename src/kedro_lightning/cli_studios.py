"""``kedro compute studios``: one Studio for each task."""

from __future__ import annotations

import os

import click

from .cli_common import env_option, examples, json_option, one_message, print_json, print_table, settings
from .config import ComputeConfig, local_secrets
from .errors import ComputeError, SettingsError
from .platform.client import connect
from .platform.machines import known_machine
from .platform.studios import StudiosApi, StudioView
from .secret_values import clean_secret
from .studio_setup import set_up


@click.group(
    short_help="List, create, start, switch and stop Studios.",
    epilog=examples("kedro compute studios list", "kedro compute studios create --all"),
)
def studios() -> None:
    """List, create, start, switch and stop the Studios of compute.yml, one for each task."""


@studios.command(
    name="list",
    short_help="Show each task's Studio: state, machine, idle minutes.",
    epilog=examples("kedro compute studios list --json"),
)
@env_option
@json_option
def list_studios(env: str | None, as_json: bool) -> None:
    """Show each task's Studio: whether it is there, awake, on what machine, and when it goes to sleep."""
    with one_message():
        _, config = settings(env)
        there = {studio.name: studio for studio in StudiosApi(connect(config.teamspace)).list()}
        rows = [_row(task, config, there) for task in config.studios]
        if as_json:
            print_json(rows)
        else:
            print_table(
                rows,
                {"task": "TASK", "name": "STUDIO", "state": "STATE", "machine": "MACHINE",
                 "idle_minutes": "SLEEPS AFTER MINUTES"},
            )  # fmt: skip


@studios.command(
    short_help="Set up Studios as compute.yml declares them.",
    epilog=examples("kedro compute studios create tuning", "kedro compute studios create --all"),
)
@click.argument("tasks", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every task of compute.yml.")
@env_option
@json_option
def create(tasks: tuple[str, ...], everything: bool, env: str | None, as_json: bool) -> None:
    """Set up Studios as compute.yml declares them; those that are there already are repaired where they differ."""
    if bool(tasks) == everything:
        raise click.UsageError("Name tasks, or give --all.")
    with one_message():
        project, config = settings(env)
        names = {task: config.studio_of(task).name for task in (tasks or config.studios)}
        api = StudiosApi(connect(config.teamspace))
        done = {task: set_up(api, config, task, project, lambda text: click.echo(text, err=True)) for task in names}
        if as_json:
            print_json([{"task": task, "name": names[task], "problems": found} for task, found in done.items()])
        else:
            for task, problems in done.items():
                click.echo(f"{names[task]}: {'; '.join(problems) or 'as declared'}")
        if any(done.values()):
            raise ComputeError("Not every Studio is as declared.")


@studios.command(epilog=examples("kedro compute studios start tuning --machine=T4"))
@click.argument("task")
@click.option("--machine", default=None, help="In place of the one in compute.yml.")
@env_option
def start(task: str, machine: str | None, env: str | None) -> None:
    """Wake the Studio of a TASK."""
    with one_message():
        _, config = settings(env)
        slug = _slug(machine or config.studio_of(task).machine)
        api = StudiosApi(connect(config.teamspace))
        studio = api.of_tasks([task], config)[task]
        api.start(studio, slug)
        api.set_sleep(studio, config.studios[task].idle_minutes)
        click.echo(f"{studio.name} is awake; it sleeps after {config.studios[task].idle_minutes} idle minutes.")


@studios.command(
    short_help="Move the running Studio of a TASK to another MACHINE.",
    epilog=examples("kedro compute studios switch training A100"),
)
@click.argument("task")
@click.argument("machine")
@env_option
def switch(task: str, machine: str, env: str | None) -> None:
    """Move the running Studio of a TASK to another MACHINE: CPU to write code, T4 to try it, A100 to train."""
    with one_message():
        _, config = settings(env)
        api = StudiosApi(connect(config.teamspace))
        studio = api.of_tasks([task], config)[task]
        slug = _slug(machine)
        if not studio.running:
            raise ComputeError(f"Studio {studio.name} is asleep. Wake it with 'kedro compute studios start {task}'.")
        api.switch(studio, slug)
        click.echo(f"{studio.name} runs on {machine}.")


@studios.command(epilog=examples("kedro compute studios stop tuning", "kedro compute studios stop --all"))
@click.argument("tasks", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every task of compute.yml.")
@env_option
def stop(tasks: tuple[str, ...], everything: bool, env: str | None) -> None:
    """Put Studios to sleep; their files stay."""
    if bool(tasks) == everything:
        raise click.UsageError("Name tasks, or give --all.")
    with one_message():
        _, config = settings(env)
        names = {config.studio_of(task).name for task in (tasks or config.studios)}
        stopped = StudiosApi(connect(config.teamspace)).stop_running(names)
        click.echo(f"Stopped {', '.join(stopped) or 'none: all of them sleep'}.")


@studios.command(
    short_help="Store the secrets of compute.yml with the platform.",
    epilog=examples("AWS_SECRET_ACCESS_KEY=… kedro compute studios secrets"),
)
@env_option
def secrets(env: str | None) -> None:
    """Store the secrets of compute.yml with the platform; no value is shown.

    They come from variables of their names, or from the entry "compute" of conf/local/credentials.yml.
    """
    with one_message():
        project, config = settings(env)
        kept = local_secrets(project, env)
        api = StudiosApi(connect(config.teamspace))
        held = api.secret_names()
        missing = []
        for name in config.secrets:
            if value := clean_secret(os.environ.get(name) or kept.get(name) or ""):
                api.store_secret(name, value)
                click.echo(f"{name}: stored")
            elif name in held:
                click.echo(f"{name}: there already")
            else:
                missing.append(name)
        if missing:
            raise ComputeError(f"Neither set here nor stored there: {', '.join(missing)}.")


def _row(task: str, config: ComputeConfig, there: dict[str, StudioView]) -> dict[str, object]:
    declared = config.studios[task]
    studio = there.get(declared.name)
    state = "missing" if studio is None else studio.phase or "asleep"
    idle = declared.idle_minutes if studio is None else studio.idle_minutes
    return {
        "task": task, "name": declared.name, "state": state, "machine": studio.machine if studio else "",
        "idle_minutes": f"{idle:g}" if studio is None or studio.sleeps else "never", "nodes": list(declared.nodes),
    }  # fmt: skip


def _slug(name: str) -> str:
    machine = known_machine(name)
    if machine is None:
        raise SettingsError(f"There is no machine {name!r}. Known: CPU, T4, L4, A100, H100 and others of the platform.")
    return machine.slug
