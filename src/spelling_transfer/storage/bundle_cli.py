"""``kedro bundle``: whether a set of files is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import click

_DEFAULT_DATASET = "prep_manifest"


@click.group(epilog="Example: kedro bundle verify data/05_model_input/prep_manifest.json")
def bundle() -> None:
    """Files that travel together, with their checksums."""


@bundle.command()
@click.argument("manifest", required=False)
@click.option("--env", "-e", default=None, help="Kedro environment whose catalog says where the manifest is.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(manifest: str | None, env: str | None, as_json: bool) -> None:
    """Compare every file of a bundle with its manifest.

    MANIFEST is a path or URL; without it, the one that local_prep wrote. Exits with 0 if all is well, 1 if a file is
    missing or altered, 2 if there is nothing to compare with.

    Example: kedro bundle verify data/05_model_input/prep_manifest.json
    """
    from spelling_transfer.errors import SpellingTransferError
    from spelling_transfer.storage.bundle import read_manifest, verify_bundle

    try:
        manifest = manifest or _manifest_of_project(env)
        files = read_manifest(manifest)["files"]
        problems = verify_bundle(manifest)
    except SpellingTransferError as error:
        click.secho(str(error), fg="red", err=True)
        raise SystemExit(2) from error
    if as_json:
        click.echo(
            json.dumps(
                {"manifest": manifest, "files": len(files), "problems": [vars(problem) for problem in problems]},
                indent=2,
            )
        )
    else:
        for problem in problems:
            click.echo(str(problem))
        wrong = len({problem.file for problem in problems})
        click.echo(
            f"{manifest}: {len(files)} files, " + (f"{wrong} not as the manifest says" if wrong else "all as said")
        )
    raise SystemExit(1 if problems else 0)


def _manifest_of_project(env: str | None) -> str:
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project
    from kedro.utils import find_kedro_project

    from spelling_transfer.storage.bundle import BundleError

    project = find_kedro_project(Path.cwd())
    if project is None:
        raise BundleError("No manifest is named and this is no Kedro project: name one, or go to the project's folder.")
    bootstrap_project(project)
    with KedroSession.create(project_path=project, env=env) as session:
        context = cast("KedroSession", session).load_context()
        catalog = context.config_loader["catalog"]
    path = catalog.get(_DEFAULT_DATASET, {}).get("filepath")
    if path is None:
        raise BundleError(f"The catalog has no file for {_DEFAULT_DATASET!r}: name a manifest.")
    return path if "://" in path or Path(path).is_absolute() else str(project / path)
