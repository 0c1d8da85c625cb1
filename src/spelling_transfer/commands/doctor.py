"""``kedro doctor``: what is installed, signed in and reachable, and what to do about what is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import one_clear_error

if TYPE_CHECKING:
    from spelling_transfer.commands.checks import Check

HOSTS = {"huggingface.co": 443, "lightning.ai": 443, "api.wandb.ai": 443}

_HELP = """Check this machine: packages, files, accounts and hosts, with a remedy for each that is not in order.

Ends with exit code 1 where something is amiss that a run needs.

\b
Examples:
  kedro doctor
  kedro doctor --offline
  kedro doctor --env=qwen3_4b --json
"""


@click.command("doctor", help=_HELP, context_settings=CONTEXT_SETTINGS)
@click.option("--offline", is_flag=True, help="Do not try to reach any host.")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@env_option
@click.pass_context
def doctor(context: click.Context, /, offline: bool, as_json: bool, env: str | None) -> None:
    """Checks the machine."""
    with one_clear_error(env=env):
        checks = _examine(offline, env)
        if as_json:
            click.echo(json.dumps([asdict(check) for check in checks], indent=2))
        else:
            _print(checks)
        if any(check.needed and not check.ok for check in checks):
            context.exit(1)


def _examine(offline: bool, env: str | None) -> list[Check]:
    from rich.console import Console

    from spelling_transfer.commands import checks
    from spelling_transfer.commands.peek import load_catalog

    groups: dict[str, Callable[[], Iterator[Check]]] = {
        "packages": checks.check_installed,
        "files": lambda: checks.check_files(load_catalog(env)),
        "accounts": checks.check_signed_in,
    }
    if not offline:
        groups["hosts"] = lambda: checks.check_reachable(HOSTS)
    with Console(stderr=True).status("Looking ...") as status:
        return checks.run_checks(groups, lambda name: status.update(f"Looking at {name} ..."))


def _print(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("", "", "found", box=None)
    group = ""
    for check in checks:
        mark = "[green]ok[/green]" if check.ok else "[red]needed[/red]" if check.needed else "[yellow]optional[/yellow]"
        if check.group != group:
            group = check.group
            table.add_row(f"[bold]{group}[/bold]", "", "")
        table.add_row(f"  {check.name}", mark, check.found)
    console.print(table)
    for check in checks:
        if not check.ok:
            console.print(f"{check.name}: {check.remedy}", markup=False)
    if all(check.ok or not check.needed for check in checks):
        console.print("All that 'kedro run' needs is here.", style="green")
