"""``kedro tune docs``: the last study's findings as a document."""

from __future__ import annotations

import json
from pathlib import Path

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import CommandError, one_clear_error
from spelling_transfer.commands.project import enter_project, json_option, load_catalog, write_document

_DOCUMENT = "docs/tuning_results.md"
_FINDINGS = "tuning_findings"

_HELP = f"""Write what the last study found as a document, by default {_DOCUMENT}.

Nothing is trained: the pipeline 'tuning' has written the findings, and this puts them where they are read.

\b
Example:
  kedro tune docs
"""


@click.command("docs", help=_HELP, context_settings=CONTEXT_SETTINGS)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=_DOCUMENT,
    show_default=True,
    help="Where to write it, from the project's folder.",
)
@json_option
@env_option
def write_docs(output: Path, as_json: bool, env: str | None) -> None:
    """Writes the findings of the last study."""
    with one_clear_error(env=env):
        project = enter_project()
        catalog = load_catalog(env)
        if not catalog[_FINDINGS].exists():
            raise CommandError(
                f"{_FINDINGS}: no study has been finished yet. Run 'kedro tune' or 'kedro run --pipelines=tuning'."
            )
        target = write_document(project, output, catalog.load(_FINDINGS))
    click.echo(json.dumps({"document": str(target)}) if as_json else f"document  {output}")
