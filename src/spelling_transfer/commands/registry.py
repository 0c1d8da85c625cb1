"""``kedro registry``: Kedro's own, but ``list`` imports no pipeline where the project names them without."""

from __future__ import annotations

from importlib import import_module

import click
from kedro.framework.cli.registry import registry as kedro_registry


@click.group(
    "registry",
    help="List or describe the pipelines of this project.\n\n\b\nExamples:\n  kedro registry list\n"
    "  kedro registry describe tuning",
)
def registry() -> None:
    """Holds the commands; each of Kedro's is taken as it is, but one."""


for _name, _command in kedro_registry.commands.items():
    registry.add_command(_command, _name)


@registry.command("list")
def list_pipelines() -> None:
    """List all pipelines of the project."""
    import yaml
    from kedro.framework import project

    module = import_module(f"{project.PACKAGE_NAME}.pipeline_registry")
    names = getattr(module, "NAMES", None)
    click.echo(yaml.dump(sorted([*names, "__default__"] if names else project.pipelines)))
