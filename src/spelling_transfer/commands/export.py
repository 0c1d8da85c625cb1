"""``kedro export``: the trained model in the forms of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import one_clear_error
from spelling_transfer.commands.project import enter_project, load_catalog
from spelling_transfer.files import from_here

if TYPE_CHECKING:
    from kedro.io import DataCatalog

DEFAULT_TARGET = Path("data/06_models/export")
_FORMS = ("merged", "trimmed", "adapter", "gguf")


@click.command(
    context_settings=CONTEXT_SETTINGS,
    epilog="\b\nExample:\n  kedro export --form=gguf\n  ollama create speller -f data/06_models/export/gguf/Modelfile",
)
@click.option(
    "--form",
    "forms",
    type=click.Choice(_FORMS),
    multiple=True,
    help="Format to write; may be repeated.  [default: all that the model has]",
)
@click.option(
    "--target",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_TARGET,
    show_default=True,
    help="The folder to write; an earlier export there is replaced.",
)
@click.option("--unchecked", is_flag=True, help="Export a model that was not checked, or that failed.")
@env_option
def export(forms: tuple[str, ...], target: Path, unchecked: bool, env: str | None) -> None:
    """Export the trained model for transformers, vLLM, lm-eval, PEFT, MLX, llama.cpp and Ollama.

    With it come a model card with scores and intervals, the policy report and checksums.
    """
    from spelling_transfer.serving.deployable import NotConformingError, read_card
    from spelling_transfer.serving.export import write_export

    with one_clear_error(env=env):
        place = enter_project() / target
        catalog = load_catalog(env)
        deployable = catalog.load("deployable")
        conformance = _found(catalog, "conformance")
        card = read_card(deployable)
        about = None if conformance is None else conformance.get("fingerprint")
        if about != card.fingerprint or conformance is None or conformance["obeys"] is not True:
            problem = "was never checked" if about != card.fingerprint else "failed its check"
            if not unchecked:
                raise NotConformingError(
                    f"deployable: {card.fingerprint} {problem}. Check it with "
                    "'kedro run --pipelines=deployment_check', or export it all the same with --unchecked."
                )
            click.echo(f"Warning: {card.fingerprint} {problem}.", err=True)
        written = write_export(
            deployable,
            catalog.load("base_model"),
            catalog.load("best_adapter"),
            catalog.load("params:model_profile"),
            place,
            forms=forms,
            scores=_found(catalog, "scores"),
            verdict=_found(catalog, "verdict"),
            policy_report=_found(catalog, "policy_report"),
            conformance=conformance if about == card.fingerprint else None,
        )
        size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
        click.echo(
            f"{from_here(str(place))}: {', '.join(written)}, {size / 1e6:,.0f} MB. README.md says how each is opened."
        )


def _found(catalog: DataCatalog, name: str) -> Any:
    return catalog.load(name) if catalog[name].exists() else None
