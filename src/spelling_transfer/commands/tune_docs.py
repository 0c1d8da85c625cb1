"""``kedro tune docs``: the last study's findings as a document."""

from __future__ import annotations

import json
from pathlib import Path

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option
from kedro.utils import find_kedro_project

from spelling_transfer.commands.errors import CommandError, one_clear_error

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
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@env_option
def write_docs(output: Path, as_json: bool, env: str | None) -> None:
    """Writes the findings of the last study."""
    from kedro.framework.startup import bootstrap_project

    from spelling_transfer.commands.peek import load_catalog
    from spelling_transfer.files import whole_file

    with one_clear_error(env=env):
        project = Path(find_kedro_project(Path.cwd()) or Path.cwd())
        bootstrap_project(project)
        catalog = load_catalog(env)
        if not catalog[_FINDINGS].exists():
            raise CommandError(
                f"{_FINDINGS}: no study has been finished yet. Run 'kedro tune' or 'kedro run --pipelines=tuning'."
            )
        target = output if output.is_absolute() else project / output
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as partial:
            partial.write_text(catalog.load(_FINDINGS), encoding="utf-8")
    click.echo(json.dumps({"document": str(target)}) if as_json else f"document  {output}")
