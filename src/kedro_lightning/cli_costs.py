"""``kedro compute plan`` and ``cost``: the price before anything is rented, and what was spent."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from .cli_common import (
    env_option,
    examples,
    json_option,
    megabytes,
    one_message,
    prices_to_show,
    print_json,
    print_table,
    settings,
)
from .config import ComputeConfig, load_config
from .costs import Ledger, advice, cost_per_point, read_scores, refresh, summary, write_page
from .errors import ComputeError, PreflightError
from .node_jobs import make_node_jobs
from .places import check_places, folder_settings
from .plan import Plan, make_plan
from .platform.client import connect
from .platform.jobs import JobsApi
from .platform.machines import PriceList
from .run_state import selection_of
from .times import JobTimes

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

_WIDTH = 80
_COLUMNS = {"run": "run_id", "node": "title", "trial": "key", "tier": "tier", "machine": "machine"}


@click.command(
    short_help="Show what would run where, for how long and for how much.",
    epilog=examples("kedro compute plan", "kedro compute plan --offline --datasets --json"),
)
@env_option
@click.option("--pipelines", default="", help="Names of pipelines, separated by commas; all of them if left out.")
@click.option("--tags", default="", help="Only nodes with one of these tags.")
@click.option("--nodes", default="", help="Only these nodes.")
@click.option("--offline", is_flag=True, help="Do not contact the platform: take its last prices, or estimates.")
@click.option("--datasets", is_flag=True, help="Also what each job reads and leaves, with sizes.")
@json_option
def plan(env: str | None, pipelines: str, tags: str, nodes: str, offline: bool, datasets: bool, as_json: bool) -> None:
    """Show what would run where, for how long and for how much. Nothing is started."""
    with one_message():
        project, _ = settings(env)
        selection = {"pipeline_names": _split(pipelines), "tags": _split(tags), "node_names": _split(nodes)}
        _show_plan(project, {"env": env}, selection, offline=offline, datasets=datasets, as_json=as_json)


@click.command(
    short_help="Show what was spent, and write the page of costs.",
    epilog=examples("kedro compute cost", "kedro compute cost --by=machine --json", "kedro compute cost --page"),
)
@click.option("--by", type=click.Choice(sorted(_COLUMNS)), default="run", show_default=True, help="What to sum up.")
@click.option("--run", "run_id", default=None, help="Only this run.")
@click.option("--refresh/--no-refresh", "ask", default=False, help="Ask the platform for costs not settled yet.")
@click.option("--page", is_flag=True, help="Write the page of costs as well.")
@click.option(
    "--trials",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of a study's trials (Parquet or CSV): also the cost of a point of score.",
)
@click.option("--score", default="transfer_score", show_default=True, help="Column of --trials.")
@env_option
@json_option
def cost(
    by: str,
    run_id: str | None,
    ask: bool,
    page: bool,
    trials: Path | None,
    score: str,
    env: str | None,
    as_json: bool,
) -> None:
    """Show what was spent on rented machines."""
    with one_message():
        project, config = settings(env)
        ledger = Ledger(project / config.ledger)
        unsettled = refresh(ledger, JobsApi(connect(config.teamspace), lists_several=True)) if ask else None
        frame = ledger.read()
        if run_id:
            frame = frame[frame["run_id"] == run_id]
        column = _COLUMNS[by]
        rows = summary(frame, column)
        total = float(frame["cost_usd"].sum())
        a_point = cost_per_point(total, read_scores(trials, score)) if trials else None
        notes = [f"A percentage point of {score}: {a_point:.4f} USD."] if a_point is not None else []
        if trials and a_point is None:
            notes = [f"No trial is better than the first by {score}, so a point has no price."]
        if page:
            write_page(project / config.page, frame, notes)
        if as_json:
            print_json(
                {"rows": rows, "usd": round(total, 4), "advice": advice(frame), "unsettled": unsettled,
                 "usd_per_point": a_point},
            )  # fmt: skip
            return
        if not rows:
            click.echo("Nothing was spent.")
            return
        print_table(rows, {column: by.upper(), "jobs": "JOBS", "hours": "HOURS", "usd": "USD"})
        click.echo(f"\n{total:.4f} USD in all." + (f" {unsettled} jobs are not settled yet." if unsettled else ""))
        for note in notes:
            click.echo(note)
        if page:
            click.echo(f"Page: {config.page}")


def show_plan(project: Path, options: Mapping[str, Any]) -> None:
    """Prints what a run with these options of ``kedro run`` would rent; starts nothing.

    Raises:
        ComputeError: The settings do not fit the pipeline.
    """
    given = {name: options.get(name) for name in ("env", "conf_source")} | {"runtime_params": options.get("params")}
    _show_plan(project, given, selection_of(options), here=(options.get("runner_params") or {}).get("here", ()))


def _show_plan(
    project: Path,
    started_with: Mapping[str, Any],
    selection: Mapping[str, Any],
    *,
    here: Collection[str] = (),
    offline: bool = False,
    datasets: bool = False,
    as_json: bool = False,
) -> None:
    """Prints the plan of a selection of nodes, and what would keep them from starting, as far as can be seen here."""
    from kedro.framework.session import KedroSession

    from .runner import StudioRunner

    with KedroSession.create(project_path=project, **started_with) as session:
        context = cast("Any", session).load_context()
    loader = context.config_loader
    chosen, config, runner = _chosen(selection), load_config(loader), StudioRunner(here=here)
    if selection.get("only_missing_outputs"):
        chosen = runner._filter_pipeline_for_missing_outputs(chosen, context.catalog)
    jobs = make_node_jobs(chosen, config, runner.here)
    prices = PriceList((), "", "none")
    if jobs:
        wanted = {name for job in jobs for name in config.tiers[job.tier].machines}
        prices = prices_to_show(project, config, wanted, offline=offline)
    times = JobTimes(config, Ledger(project / config.ledger), loader)
    made = make_plan(chosen, jobs, context.catalog, config, prices, times)
    if as_json:
        budget = {"budget_run_usd": config.budget.run_usd, "budget_month_usd": config.budget.month_usd}
        print_json({**made.as_record(), **budget})
    elif made.rented:
        _print_plan(made, config, datasets=datasets)
    else:
        click.echo("Nothing would be rented: no node has a tag of compute.yml.")
    try:
        check_places(chosen, jobs, context.catalog, config, project, folder_settings(loader, project))
    except PreflightError as error:
        click.echo(f"\nBefore it can start:\n{error}", err=True)


def _chosen(selection: Mapping[str, Any]) -> Pipeline:
    from kedro.framework.project import pipelines

    names = selection.get("pipeline_names") or ["__default__"]
    unknown = sorted(set(names) - set(pipelines))
    if unknown:
        raise ComputeError(f"There is no pipeline {unknown[0]!r}. Known: {', '.join(sorted(pipelines))}.")
    chosen: Pipeline = sum((pipelines[name] for name in names[1:]), pipelines[names[0]])
    filters = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs")
    try:
        return chosen.filter(
            node_namespaces=selection.get("namespaces") or None,
            **{name: selection[name] for name in filters if selection.get(name)},
        )
    except ValueError as error:
        raise ComputeError(str(error)) from None


def _print_plan(made: Plan, config: ComputeConfig, *, datasets: bool) -> None:
    rows = [
        {
            "name": row.name,
            "machine": f"{row.machine.name}{' *' if row.interruptible else ''}" if row.machine else "",
            "usd_per_hour": row.usd_per_hour,
            "minutes": _number(row.minutes or 0.0),
            "from": row.estimated_from,
            "usd": row.usd,
        }
        for row in made.rented
    ]
    columns = {
        "name": "NODE", "machine": "MACHINE", "usd_per_hour": "USD/H", "minutes": "MINUTES", "from": "FROM",
        "usd": "USD",
    }  # fmt: skip
    print_table(rows, columns, _WIDTH)
    lines = list(dict.fromkeys(note for row in made.rented for note in row.notes))
    if any(row.interruptible for row in made.rented):
        lines.insert(0, "* may be taken away; the job then starts again.")
    if datasets:
        lines += [f"{row.name} reads {_datasets(row.inputs)}, leaves {_datasets(row.outputs)}." for row in made.rented]
    here = len(made.rows) - len(made.rented)
    lines.append(f"{here} {'node runs' if here == 1 else 'nodes run'} here.")
    budget = f"{config.budget.run_usd:.2f} USD" if config.budget.run_usd is not None else "not set: nothing would start"
    lines.append(f"About {made.usd:.2f} USD; budget of a run: {budget}.")
    origin = {"platform": "of today", "cache": "kept", "estimate": "estimated, high"}[made.prices_source]
    lines.append(f"Prices {origin}{f' ({made.prices_read_at})' if made.prices_read_at else ''}.")
    click.echo()
    for line in lines:
        click.echo(textwrap.fill(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False))


def _number(minutes: float) -> str:
    return f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.1f}"


def _datasets(found: tuple[tuple[str, int | None], ...]) -> str:
    return ", ".join(f"{name} {megabytes(size)}" for name, size in found) or "nothing"


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
