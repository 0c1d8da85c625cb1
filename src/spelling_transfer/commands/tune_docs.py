"""``kedro tune docs``: the last study's findings as a document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import CommandError, one_clear_error
from spelling_transfer.commands.project import enter_project, json_option, load_context, print_json, write_document
from spelling_transfer.files import from_here

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog

_DOCUMENT = "docs/tuning_results.md"
_FINDINGS = "tuning_findings"

_HELP = f"""Write what the last study found as a document, by default {_DOCUMENT}.

Nothing is trained: the pipeline 'tuning' has written the findings, and this puts them where they are read.

\b
Example:
  kedro tune docs
"""


@click.command(
    "docs", short_help="Write what the last study found as a document.", help=_HELP, context_settings=CONTEXT_SETTINGS
)
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
    from spelling_transfer.pages.documents import with_answer

    with one_clear_error(env=env):
        project = enter_project()
        context = load_context(env)
        catalog = cast("DataCatalog", context.catalog)
        if not catalog[_FINDINGS].exists():
            raise CommandError(
                f"{_FINDINGS}: no study has been finished yet. Run 'kedro tune' or 'kedro run --pipelines=tuning'."
            )
        found, left_out = catalog.load(_FINDINGS), _why_no_answer(context, catalog)
        if not left_out:
            found = with_answer(found, catalog.load("verdict"), catalog.load("arm_effects"))
        target = write_document(project, output, found)
    if as_json:
        print_json({"document": str(target)})
    else:
        click.echo(f"document  {from_here(str(target))}")
    if left_out:
        click.echo(f"The answer of the evaluation is left out: {left_out}.", err=True)


def _why_no_answer(context: KedroContext, catalog: DataCatalog) -> str:
    """Returns why the evaluation's answer does not belong to the study; nothing if it does."""
    from kedro.framework.project import pipelines

    from spelling_transfer.storage.freshness import find_stale

    if not all(name in catalog and catalog[name].exists() for name in ("verdict", "arm_effects")):
        return "there is none yet; it comes with 'kedro run --pipelines=evaluation'"
    wanted = pipelines["evaluation"].to_outputs("verdict", "arm_effects")
    if stale := find_stale(context, catalog, wanted):
        node, reasons = next(iter(stale.items()))
        return f"it is old ({node}: {reasons[0]}); 'kedro run --pipelines=evaluation' makes it again"
    return ""
