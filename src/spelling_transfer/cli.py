"""The commands of this project; ``kedro`` finds them here and puts them before its own."""

from __future__ import annotations

from typing import Any

import click
from kedro.framework.cli.utils import LazyGroup


@click.group(
    name="spelling_transfer",
    cls=LazyGroup,
    lazy_subcommands={
        "doctor": "spelling_transfer.commands.doctor.doctor",
        "peek": "spelling_transfer.commands.peek.peek",
        "run": "spelling_transfer.commands.run.run",
    },
)
def cli() -> None:
    """Commands of the project; each is imported when it is asked for."""


def __getattr__(name: str) -> Any:
    # Kedro asks for `cli.run` where the project runs as an installed package.
    if name == "run":
        from spelling_transfer.commands.run import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
