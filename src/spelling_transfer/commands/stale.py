"""``kedro run --only-stale``: which nodes of a run have to run again, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import click

from spelling_transfer import __version__
from spelling_transfer.commands.project import load_context

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline

_SHOWN = 3
"""So many reasons of a node are named."""


def choose_stale(options: Mapping[str, Any], pipeline: Pipeline) -> tuple[list[str], bool]:
    """Says which of the nodes that a run has chosen are stale.

    Args:
        options: The options of ``kedro run`` by name; what they name is there.
        pipeline: The nodes that they choose.

    Returns:
        The names of the nodes to run, and whether they make anything: a check alone makes nothing.

    Raises:
        DatasetError: The storage cannot be reached.
    """
    from spelling_transfer.storage.freshness import LEAVES_NOTHING, find_stale

    context = load_context(options["env"], conf_source=options["conf_source"], runtime_params=options["params"])
    stale = find_stale(context, cast("DataCatalog", context.catalog), pipeline)
    made = [name for name, reasons in stale.items() if reasons[0] != LEAVES_NOTHING]
    fresh = len(pipeline.nodes) - len(stale)
    if not made:
        click.echo(
            f"Nothing has changed: {fresh} nodes are up to date. Code that changed within version {__version__} is not "
            "detected."
        )
    else:
        click.echo(f"{len(stale)} of {len(pipeline.nodes)} nodes run again; {fresh} are up to date.")
    for name, reasons in stale.items():
        more = f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        click.echo(f"  {name}: {', '.join(reasons[:_SHOWN])}{more}")
    return list(stale), bool(made)
