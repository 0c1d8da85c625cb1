"""Commands of the compute plugin: ``kedro compute``."""

from __future__ import annotations

import click


@click.group(name="compute")
def commands() -> None:
    """Commands of the plugin; Kedro adds them to its own."""
