"""``kedro compute plan``: the price before anything is rented."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from .cli_common import env_option, json_option, ledger_of, megabytes, one_message, print_json, print_table, settings
from .config import ComputeConfig
from .errors import ComputeError, PlatformError, PreflightError
from .folders import folder_settings
from .loading import load_config
from .places import check_places
from .plan import Plan, cache_path, make_plan
from .platform.client import connect
from .platform.credentials import signed_in
from .platform.machines import PriceList, cached_prices, estimated_prices
from .prepare import current_prices
from .units import make_units

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline


@click.command(
    epilog="Examples: kedro compute plan --env=qwen3_4b   kedro compute plan --pipelines=tuning --offline --json"
)
@env_option
@click.option("--pipelines", default="", help="Names of pipelines, separated by commas; all of them if left out.")
@click.option("--tags", default="", help="Only nodes with one of these tags.")
@click.option("--nodes", default="", help="Only these nodes.")
@click.option("--offline", is_flag=True, help="Do not ask the platform: prices of its last answer, or estimates.")
@json_option
def plan(env: str | None, pipelines: str, tags: str, nodes: str, offline: bool, as_json: bool) -> None:
    """Show what would run where, for how long and for how much. Nothing is started."""
    with one_message():
        from kedro.framework.session import KedroSession
        from kedro.framework.startup import bootstrap_project

        project, config = settings(env)
        bootstrap_project(project)
        with KedroSession.create(project_path=project, env=env) as session:
            context = cast("Any", session).load_context()
            selection: dict[str, Any] = {
                "pipeline_names": _split(pipelines), "tags": _split(tags), "node_names": _split(nodes),
            }  # fmt: skip
            show(plan_of(context, selection, offline), config, as_json)
            show_missing(context, selection)


def plan_of(context: Any, selection: dict[str, Any], offline: bool) -> Plan:
    """Makes the plan of a selection of nodes.

    Args:
        context: A Kedro context.
        selection: Arguments of a run, as Kedro's session takes them.
        offline: Whether the platform is left alone.

    Raises:
        ComputeError: The selection or the settings are wrong.
    """
    chosen = _chosen(selection)
    config, project = load_config(context.config_loader), Path(context.project_path)
    ledger = ledger_of(project, config)
    return make_plan(chosen, context.catalog, config, lambda wanted: _prices(project, config, wanted, offline), ledger)


def show_missing(context: Any, selection: dict[str, Any]) -> None:
    """Prints what would keep a run of these nodes from starting, of what can be told without the platform."""
    chosen, config = _chosen(selection), load_config(context.config_loader)
    project, loader = Path(context.project_path), context.config_loader
    try:
        check_places(
            chosen, make_units(chosen, config), context.catalog, config, project, folder_settings(loader, project)
        )
    except PreflightError as error:
        click.echo(f"\nBefore it can start:\n{error}", err=True)


def _chosen(selection: dict[str, Any]) -> Pipeline:
    from kedro.framework.project import pipelines

    names = selection.get("pipeline_names") or ["__default__"]
    unknown = sorted(set(names) - set(pipelines))
    if unknown:
        raise ComputeError(f"There is no pipeline {unknown[0]!r}. Known: {', '.join(sorted(pipelines))}.")
    chosen: Pipeline = sum((pipelines[name] for name in names[1:]), pipelines[names[0]])
    filters = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs")
    try:
        return chosen.filter(**{name: selection[name] for name in filters if selection.get(name)})
    except ValueError as error:
        raise ComputeError(str(error)) from None


def show(made: Plan, config: ComputeConfig, as_json: bool) -> None:
    """Prints a plan."""
    if as_json:
        print_json(
            {**made.as_record(), "budget_run_usd": config.budget.run_usd, "budget_month_usd": config.budget.month_usd}
        )
        return
    if not made.rented:
        click.echo("Nothing would be rented: no node has a tag of compute.yml.")
        return
    rows = [
        {
            "name": row.name,
            "machine": (row.machine.name if row.machine else "") + (" (interruptible)" if row.interruptible else ""),
            "usd_per_hour": row.usd_per_hour,
            "minutes": f"{row.minutes or 0:.0f} ({row.estimated_from})",
            "usd": row.usd,
            "inputs": _datasets(row.inputs),
            "outputs": _datasets(row.outputs),
        }
        for row in made.rented
    ]
    columns = {
        "name": "NODE", "machine": "MACHINE", "usd_per_hour": "USD/H", "minutes": "MINUTES", "usd": "USD",
        "inputs": "READS", "outputs": "LEAVES",
    }  # fmt: skip
    print_table(rows, columns)
    here = len(made.rows) - len(made.rented)
    click.echo(f"\n{here} {'node runs' if here == 1 else 'nodes run'} here.")
    budget = f"{config.budget.run_usd:.2f} USD" if config.budget.run_usd is not None else "not set: nothing would start"
    origin = {"platform": "of today", "cache": "kept", "estimate": "estimated, high"}[made.prices_source]
    read = f" ({made.prices_read_at})" if made.prices_read_at else ""
    click.echo(f"About {made.usd:.2f} USD; budget of a run: {budget}. Prices {origin}{read}.")


def _prices(project: Path, config: ComputeConfig, wanted: set[str], offline: bool) -> PriceList:
    if not offline and signed_in():
        try:
            return current_prices(connect(config.teamspace), project)
        except PlatformError as error:
            click.echo(f"{error} The plan uses prices kept from before, or estimates.", err=True)
    return cached_prices(cache_path(project)) or estimated_prices(wanted)


def _datasets(found: tuple[tuple[str, int | None], ...]) -> str:
    return ", ".join(f"{name} {megabytes(size)}" for name, size in found)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
