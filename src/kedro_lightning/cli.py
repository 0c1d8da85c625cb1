"""Commands of the compute plugin: ``kedro compute``. What they need is imported when one of them is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

import click


class _Lazy(click.Command):
    """Stands for a command until it is used."""

    def __init__(self, name: str, path: str, summary: str) -> None:
        super().__init__(name, short_help=summary)
        self._path = path

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        module, _, attribute = self._path.partition(":")
        command = cast("click.Command", getattr(import_module(f"{__package__}.{module}"), attribute))
        return command.make_context(info_name, args, parent, **extra)


_COMMANDS = {
    "plan": ("cli_plan:plan", "Show what would run where, for how long and for how much."),
    "status": ("cli_jobs:status", "Show the jobs of a run, or all that run now."),
    "logs": ("cli_jobs:logs", "Show or follow the log of a job."),
    "stop": ("cli_jobs:stop", "Stop jobs and Studios, so that nothing costs any more."),
    "cost": ("cli_cost:cost", "Show what was spent, and write the page of costs."),
    "studios": ("cli_studios:studios", "List, create, start, switch and stop Studios."),
}


@click.group(name="compute")
def commands() -> None:
    """Commands of the plugin; Kedro adds them to its own."""


@commands.group(name="compute")
def compute() -> None:
    """Rent machines for the nodes that need them, and give them back."""


for _name, (_path, _summary) in _COMMANDS.items():
    compute.add_command(_Lazy(_name, _path, _summary))
