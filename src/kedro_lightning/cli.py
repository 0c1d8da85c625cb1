"""Commands of the plugin: ``kedro compute``. What they need is imported when one of them is used."""

from __future__ import annotations

import click
from kedro.framework.cli.utils import LazyGroup


@click.group(name="compute", help="")  # Kedro would print it above all commands
def commands() -> None:
    """Commands of the plugin: a project imports them in its ``cli.py`` under the name ``cli``."""


compute = LazyGroup(
    name="compute",
    help="""Rent machines for nodes that need them, and release them.

    \b
    Example:
        kedro compute plan
    """,
    lazy_subcommands={
        name: f"{__package__}.{place}"
        for name, place in {
            "plan": "cli_costs.plan",
            "cost": "cli_costs.cost",
            "deploy": "cli_deploy.deploy",
            "status": "cli_jobs.status",
            "logs": "cli_jobs.logs",
            "stop": "cli_jobs.stop",
            "studios": "cli_studios.studios",
        }.items()
    },
)
commands.add_command(compute)
