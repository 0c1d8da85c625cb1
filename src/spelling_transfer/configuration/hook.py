"""The hook that checks the configuration before a run, and where each parameter was set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl

from spelling_transfer.configuration.loader import ConfigurationError, ProjectConfigLoader

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline


class ConfigurationCheck:
    """A Kedro hook: no run begins with parameters that nothing understands or inputs that nobody keeps."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Checks all parameters of the project, those of pipelines that are not asked for included.

        Raises:
            ParameterError: One or more parameters are wrong; all of them are named.
        """
        from kedro.framework.project import pipelines

        # Every kedro command imports this module through settings.py; pydantic is for those that run something.
        from spelling_transfer.configuration.parameters import check_parameters

        loader = context.config_loader
        if not isinstance(loader, ProjectConfigLoader):
            return
        try:
            parameters = loader["parameters"]
        except MissingConfigException:
            return
        places = Places(loader, context.project_path)
        check_parameters(parameters, dict(pipelines), places.find, elsewhere=loader.runtime_names)

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> None:
        """Checks that what the chosen nodes read is kept somewhere.

        Raises:
            ConfigurationError: An input is neither in the catalog nor made by a node of this run.
        """
        missing = sorted(name for name in pipeline.inputs() if name not in catalog)
        if missing:
            readers = sorted({node.name for node in pipeline.nodes if set(missing) & set(node.inputs)})
            raise ConfigurationError(
                f"{', '.join(missing)}: needed by {', '.join(readers)}, but no node of this run makes it and the "
                "catalog does not keep it. Run the pipeline that makes it, or give it a place in conf/base/catalog/."
            )


class Places:
    """Finds the file, or the command line, that set a parameter."""

    def __init__(self, loader: ProjectConfigLoader, project: Path) -> None:
        self._loader, self._project = loader, project

    def find(self, location: tuple[int | str, ...]) -> str:
        """Returns where a parameter was set: the place that holds the longest part of its path."""
        places: dict[str, Mapping[str, Any]] = {"--params": self._loader.runtime_params or {}}
        for file, content in self._loader.parameter_files().items():
            inside = file.is_relative_to(self._project)
            places[str(file.relative_to(self._project) if inside else file)] = content
        reached = {name: _walk(content, location) for name, content in places.items()}
        # Equal depths: the first wins, as --params come before the environment and the environment before base.
        best = max(reached, key=lambda name: reached[name][0])
        depth, stop = reached[best]
        if isinstance(stop, str) and "${" in stop and depth < len(location):
            return f"{best}, through {stop}"
        if isinstance(stop, Mapping) and "extends" in stop and depth < len(location):
            return f"{best}, through extends: {stop['extends']}"
        return best if depth else ""


def _walk(content: Any, location: tuple[int | str, ...]) -> tuple[int, Any]:
    """Returns how many parts of a location are there, and what stands at the last of them."""
    for depth, part in enumerate(location):
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return depth, content
    return len(location), content
