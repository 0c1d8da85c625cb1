"""What the commands share: the project and its environment, its catalog, a run of a pipeline, output for programs."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from kedro.utils import find_kedro_project

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.runner import AbstractRunner

    from spelling_transfer.configuration.loader import ProjectConfigLoader

json_option = click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")


def project_folder() -> Path:
    """Returns the folder of the project around the current one; outside any, the current one."""
    return Path(find_kedro_project(Path.cwd()) or Path.cwd())


def enter_project() -> Path:
    """Sets Kedro up for the project and returns its folder."""
    from kedro.framework.startup import bootstrap_project

    project = project_folder()
    bootstrap_project(project)
    return project


def config_loader(
    project: Path,
    env: str | None,
    runtime_params: Mapping[str, Any] | None = None,
    *,
    conf_source: Path | None = None,
) -> ProjectConfigLoader:
    """Returns the configuration of a project that Kedro has been set up for.

    Args:
        project: Its folder.
        env: The environment; without one, ``KEDRO_ENV`` and then the project's default.
        runtime_params: Parameters that come last.
        conf_source: The folder of the configuration, where it is not the project's own.
    """
    from kedro.framework.project import settings

    return cast(
        "ProjectConfigLoader",
        settings.CONFIG_LOADER_CLASS(
            conf_source=str(conf_source or project / settings.CONF_SOURCE),
            env=env or os.environ.get("KEDRO_ENV"),
            runtime_params=dict(runtime_params or {}),
            **settings.CONFIG_LOADER_ARGS,
        ),
    )


def load_context(env: str | None = None, **session: Any) -> KedroContext:
    """Returns the project around the current folder, its configuration and catalog.

    Args:
        env: The environment.
        session: What else ``KedroSession.create`` is to be told.
    """
    from kedro.framework.session import KedroSession

    return KedroSession.create(env=env, save_on_close=False, **session).load_context()


def load_catalog(env: str | None = None) -> DataCatalog:
    """Returns the catalog of the project around the current folder."""
    return cast("DataCatalog", load_context(env).catalog)


def find_stored(env: str | None, name: str) -> Any:
    """Returns the path of a dataset on this machine, or what is in it where an environment keeps it elsewhere.

    The catalog of all datasets takes a second to make, so this one is made alone.

    Args:
        env: The environment.
        name: The dataset.
    """
    project = enter_project()
    loader = config_loader(project, env)
    entry = loader["catalog"][name]
    if "://" not in entry["filepath"]:
        return project / entry["filepath"]
    from kedro.config import MissingConfigException
    from kedro.io import DataCatalog

    credentials = {}
    with suppress(MissingConfigException):  # keys may come from variables or a profile
        credentials = loader["credentials"]
    return DataCatalog.from_config({name: entry}, credentials).load(name)


def run_pipeline(
    project: Path,
    env: str | None,
    pipeline: str,
    *,
    nodes: list[str] | None = None,
    outputs: list[str] | None = None,
    params: Mapping[str, Any] | None = None,
    runner: AbstractRunner | None = None,
) -> None:
    """Runs a pipeline, or some of its nodes, as ``kedro run`` does.

    Args:
        project: The project's folder; Kedro has been set up for it.
        env: The environment; ``None`` is Kedro's default.
        pipeline: Its name.
        nodes: Names of the nodes; all of them by default.
        outputs: Datasets that are wanted; all of them by default.
        params: Parameters that come last.
        runner: What runs the nodes; Kedro's sequential runner by default.
    """
    from kedro.framework.session import KedroSession

    logging.getLogger("kedro_viz").setLevel(logging.ERROR)  # it warns of every run that is not of all pipelines
    logging.getLogger("kedro.runner").setLevel(logging.ERROR)  # it advises options that `kedro run` alone has
    with KedroSession.create(project_path=project, env=env, runtime_params=dict(params or {})) as session:
        cast("KedroSession", session).run(
            pipeline_names=[pipeline], node_names=nodes or None, to_outputs=outputs or None, runner=runner
        )


def print_json(content: Any) -> None:
    """Prints a command's result for another program; what is not a finite number is null, as JSON has no other way."""
    plain = json.loads(json.dumps(content, default=str), parse_constant=lambda _: None)
    click.echo(json.dumps(plain, indent=2))


def write_document(project: Path, file: Path, text: str) -> Path:
    """Writes a document, whole or not at all, at a path from the project's folder; returns where it is."""
    from spelling_transfer.files import write_text

    target = project / file  # an absolute path stays as it is
    write_text(target, text)
    return target
