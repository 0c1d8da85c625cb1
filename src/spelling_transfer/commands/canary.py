"""``kedro canary``: does the endpoint still answer as it did when it was checked?"""

from __future__ import annotations

import json
from pathlib import Path

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import one_clear_error
from spelling_transfer.commands.project import find_stored, json_option, print_json


@click.command(
    context_settings=CONTEXT_SETTINGS,
    epilog="\b\nExample, each hour from cron:\n"
    "  kedro canary --metrics-file /var/lib/node_exporter/spelling_transfer.prom",
)
@click.option("--url", default="http://127.0.0.1:8000", show_default=True, help="Address of the endpoint.")
@click.option(
    "--conformance",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="the environment's",
    help="What the deployment check wrote: questions, and answers with their seeds.",
)
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the share of unchanged answers here, for Prometheus' node exporter.",
)
@json_option
@env_option
def canary(url: str, conformance: Path | None, metrics_file: Path | None, as_json: bool, env: str | None) -> None:
    """Send the endpoint the questions of its check again, with the same seeds, and compare the answers.

    The key comes from SPELLING_TRANSFER_API_KEY (or _API_KEYS_FILE). Exit code 1: an answer or the model changed.
    """
    from spelling_transfer.serving.canary import ask_canaries
    from spelling_transfer.serving.client import EndpointClient
    from spelling_transfer.serving.settings import endpoint_keys

    with one_clear_error(env=env):
        checked = conformance or find_stored(env, "conformance")
        try:
            found = json.loads(checked.read_text(encoding="utf-8")) if isinstance(checked, Path) else checked
            with EndpointClient(url, found["model"], api_key=next(iter(endpoint_keys().values()), None)) as client:
                report = ask_canaries(client, found)
        except (ValueError, KeyError, TypeError) as error:
            place = checked if isinstance(checked, Path) else "conformance"
            raise click.ClickException(f"{place}: not what a deployment check writes ({error!r}).") from error
        if metrics_file is not None:
            report.write_metrics(metrics_file)
    same = report.n_asked - len(report.changed)
    if as_json:
        print_json({"asked": report.n_asked, "unchanged_share": report.unchanged_share,
                    "same_model": report.same_model, "changed": report.changed})  # fmt: skip
    else:
        click.echo(f"{same} of {report.n_asked} answers are those of the check.")
        for each in report.changed[:5]:
            click.echo(f"  {each['question']!r}: {each['answer']!r}, at the check {each['expected']!r}")
        if not report.same_model:
            click.echo("Another deployable is served than the one that was checked.")
    if report.changed or not report.same_model:
        raise click.exceptions.Exit(1)
