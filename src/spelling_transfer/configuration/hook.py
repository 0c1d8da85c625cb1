"""The hook that checks the configuration before a run."""

from __future__ import annotations

import logging
from functools import partial
from posixpath import abspath, basename
from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl

from spelling_transfer.configuration.documents import OF_THIS_VERSION, ConfigurationError
from spelling_transfer.configuration.layers import given_though_searched, place_of
from spelling_transfer.configuration.loader import ProjectConfigLoader

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline


logger = logging.getLogger(__name__)


class ConfigurationCheck:
    """A Kedro hook: no run begins with parameters that no model knows, or with inputs that are not there."""

    def __init__(self) -> None:
        self._entries: dict[str, Any] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Checks all parameters of the project, also those of pipelines that are not run.

        Raises:
            ParameterError: One or more parameters are wrong; all of them are named.
        """
        from kedro.framework.project import pipelines

        # Every kedro command imports this module through settings.py; pydantic is for those that run something.
        from spelling_transfer.configuration.parameters import check_parameters

        loader = context.config_loader
        if not isinstance(loader, ProjectConfigLoader):
            return
        loader.project = context.project_path
        try:
            parameters, layer = loader["parameters"], loader.layer()
        except MissingConfigException:
            return
        check_parameters(parameters, dict(pipelines), partial(place_of, layer), elsewhere=loader.runtime_names)
        for problem in given_though_searched(layer):
            logger.warning("%s", problem)

    @hook_impl
    def after_catalog_created(self, conf_catalog: dict[str, Any] | None) -> None:
        """Keeps the entries of the catalog, in which paths are whole."""
        self._entries = {name: entry for name, entry in (conf_catalog or {}).items() if isinstance(entry, dict)}

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol[Any, Any]) -> None:
        """Checks that what the chosen nodes read is kept somewhere, and warns of what they make that is not.

        Raises:
            ConfigurationError: An input is neither in the catalog nor made by a node of this run, or it is a manifest's
                list of files and the catalog keeps one of these elsewhere.
        """
        missing = sorted(name for name in pipeline.inputs() if name not in catalog)
        if missing:
            readers = sorted({node.name for node in pipeline.nodes if set(missing) & set(node.inputs)})
            raise ConfigurationError(
                f"{', '.join(missing)}: needed by {', '.join(readers)}, but no node of this run makes it and the "
                "catalog does not keep it. Run the pipeline that makes it, or give it a place in conf/base/catalog/. "
                f"{OF_THIS_VERSION}"
            )
        for name in sorted(pipeline.inputs()):
            if elsewhere := self._listed_but_kept_elsewhere(name):
                raise ConfigurationError(
                    f"{name} lists {', '.join(elsewhere)}, but the catalog keeps that file elsewhere, or in versions: "
                    "the manifest would describe one of another run. Change 'files' of that entry, too."
                )
        if lost := sorted(name for name in pipeline.all_outputs() if name not in catalog):
            logger.warning("%s: not in the catalog, so lost when the run ends. %s", ", ".join(lost), OF_THIS_VERSION)

    def _listed_but_kept_elsewhere(self, name: str) -> list[str]:
        entry = self._entries.get(name, {})
        files = entry.get("files")
        if not str(entry.get("type")).endswith(".BundleFilesDataset") or not isinstance(files, list):
            return []
        kept: dict[str, list[str]] = {}
        for each in self._entries.values():
            if isinstance(path := each.get("filepath"), str):
                kept.setdefault(basename(path), []).append("" if each.get("versioned") else abspath(path))
        listed = [(file, kept.get(basename(str(file)), [])) for file in files]
        return [str(file) for file, places in listed if places and abspath(f"{entry.get('root')}/{file}") not in places]
