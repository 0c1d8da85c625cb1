"""``kedro compute cost``: what was spent, by run, node, tier or machine."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from .cli_common import (
    connection_of,
    env_option,
    json_option,
    ledger_of,
    one_message,
    print_json,
    print_table,
    settings,
)
from .cost_page import write_page
from .costs import advice, cost_per_point, read_scores, refresh, summary
from .platform.jobs import JobsApi

_COLUMNS = {"run": "run_id", "node": "title", "trial": "key", "tier": "tier", "machine": "machine"}


@click.command(
    epilog="Examples: kedro compute cost   kedro compute cost --by=machine --json   kedro compute cost --page"
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
        ledger = ledger_of(project, config)
        unsettled = refresh(ledger, JobsApi(connection_of(config), lists_several=True)) if ask else None
        frame = ledger.read()
        if run_id:
            frame = frame[frame["run_id"] == run_id]
        column = _COLUMNS[by]
        rows = summary(frame, column)
        total = float(pd.to_numeric(frame["cost_usd"]).sum()) if len(frame) else 0.0
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
