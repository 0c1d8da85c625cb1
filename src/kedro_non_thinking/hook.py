"""The Kedro hook: a violation stops the run before a node has run, let alone a machine been rented.

A project asks for it in its ``settings.py``: ``HOOKS = (policy_hook,)``.
"""

from __future__ import annotations

import logging
import stat
import threading
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

# What needs pydantic is imported when a run begins: every kedro command that opens a session imports this module.
from .mentions import DEPLOYS

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

    from .findings import Finding
    from .run_checks import RunChecks

REPORT_DATASET = "policy_report"
"""If the catalog has a dataset of this name, the evidence of each run is saved to it."""

UNCHANGED = "loaded as it was judged"
"""In the evidence: what was loaded from a file that this run had judged before, and that was the same file still."""

_TABLE_LIBRARIES = frozenset({"pandas", "pyarrow", "numpy", "polars"})
FileState = tuple[str, int, int, int, int, int]
"""A file and what changes with its content: device, inode, size, and when it was changed and modified."""
logger = logging.getLogger(__name__)


class NonThinkingPolicyHook:
    """Checks configuration, parameters, datasets and the inputs of nodes."""

    def __init__(self) -> None:
        """Makes a hook without rules; they are read when a context is there."""
        self._lock = threading.Lock()
        self._checks: RunChecks | None = None
        self._loaded: dict[str, int] = {}
        self._catalog: DataCatalog | None = None
        self._judged: dict[str, FileState | None] = {}

    # -- before anything runs ------------------------------------------------------------------------------------------

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Reads the rules, then checks the files of the active environment, its parameters and those of the command.

        Raises:
            PolicyFileError: ``policy.yml`` is not what it should be.
            PolicyViolationError: A file or a parameter breaks a rule.
        """
        loader = context.config_loader
        source = Path(getattr(loader, "conf_source", context.project_path / "conf"))
        base = getattr(loader, "base_env", "") or "base"
        env = getattr(loader, "env", None) or getattr(loader, "default_run_env", "") or base
        self._checks = checks = _read_rules(context.project_path, source, base)
        checks.settle(checks.configuration_files(source, (base, env), base))
        checks.settle(checks.tree("--params", getattr(loader, "runtime_params", None) or {}, "configuration"))
        checks.settle(checks.tree("parameters", _parameters(context), "configuration"))

    @hook_impl
    def after_catalog_created(self, conf_catalog: dict[str, Any] | None) -> None:
        """Checks the catalog as it was resolved for the active environment; credentials are not looked at."""
        checks = self._started()
        for name, entry in (conf_catalog or {}).items():
            checks.settle(checks.tree(f"dataset:{name}", entry, "configuration", deployment=_deploys(name)))

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Checks every dataset and parameter that the run can reach, and the options it was started with."""
        checks = self._started()
        self._catalog = catalog
        self._judged.clear()
        checks.settle(checks.tree("kedro run", run_params.get("runtime_params") or {}, "run"))
        checks.settle(self._reachable(checks, pipeline, catalog))

    # -- while it runs -------------------------------------------------------------------------------------------------

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Checks tokenizers, generation settings and parameters among the inputs of a node.

        What was judged when it was loaded is judged again only for a node of the deployment, where more is fixed.
        """
        checks = self._started()
        deployment = _deploys_node(node)
        for name, value in inputs.items():
            if (deployment and not _is_large(value)) or self._loaded.get(name) != id(value):
                checks.settle(checks.data(_place(name), _plain(name, value), "node inputs", deployment=deployment))

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Checks what was loaded: texts, token ids, settings, model folders.

        A file that this run has judged, and that has not changed since, is not judged again.
        """
        checks = self._started()
        state = self._file_state(dataset_name)
        if state is not None and self._judged.get(dataset_name) == state:
            checks.note(UNCHANGED, _place(dataset_name))
        else:
            checks.settle(checks.data(_place(dataset_name), _plain(dataset_name, data), "loaded"))
        self._judged[dataset_name] = state
        self._loaded[dataset_name] = id(data)

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Checks what is to be saved, so that a violation is not written."""
        checks = self._started()
        checks.settle(checks.data(_place(dataset_name), data, "saved", exported=True))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Checks a model folder once more where it came to stand; remembers the file of anything else as judged."""
        self._judged[dataset_name] = self._file_state(dataset_name)
        if isinstance(getattr(data, "path", None), Path):
            checks = self._started()
            checks.settle(checks.data(_place(dataset_name), data, "exported folders", exported=True))

    # -- afterwards ----------------------------------------------------------------------------------------------------

    # First, so that a page of the run that another hook writes can show the evidence.
    @hook_impl(tryfirst=True)
    def after_pipeline_run(self, catalog: DataCatalog) -> None:
        """Saves the evidence, if the catalog has a place for it."""
        self._save_report(catalog)

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self, error: Exception, catalog: DataCatalog) -> None:
        """Saves the evidence of a run that failed, the violation included, also one found in another process.

        The error itself stays the last word.
        """
        if self._checks is not None:
            self._checks.found_elsewhere(error)
        try:
            self._save_report(catalog)
        except Exception as second:  # noqa: BLE001  (the store that made a node fail fails here again)
            logger.warning("The evidence of the non-thinking policy could not be saved: %s", second)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _started(self) -> RunChecks:
        """Returns the checks; a process that was given no context reads the rules of its working folder."""
        if self._checks is None:
            from kedro.framework.project import settings
            from kedro.utils import find_kedro_project

            with self._lock:
                if self._checks is None:
                    project = find_kedro_project(Path.cwd()) or Path.cwd()
                    base = settings.CONFIG_LOADER_ARGS.get("base_env") or "base"
                    self._checks = _read_rules(project, project / settings.CONF_SOURCE, base)
        return self._checks

    def _file_state(self, name: str) -> FileState | None:
        if self._catalog is None or _is_parameter(name) or (dataset := self._catalog.get(name)) is None:
            return None
        return _file_state(dataset)

    def _reachable(self, checks: RunChecks, pipeline: Pipeline, catalog: DataCatalog) -> Iterator[Finding]:
        deployed = {name for node in pipeline.nodes if _deploys_node(node) for name in node.inputs}
        inputs = pipeline.inputs()
        resolver = getattr(catalog, "config_resolver", None)
        for name in sorted(pipeline.datasets()):
            if _is_parameter(name):
                dataset = catalog.get(name) if name in inputs else None
                if dataset is not None:
                    value = _plain(name, dataset.load())
                    yield from checks.tree(_place(name), value, "parameters", deployment=name in deployed)
                continue
            entry = resolver.resolve_pattern(name) if resolver is not None else {}
            entry = {key: value for key, value in (entry or {}).items() if key != "credentials"}
            yield from checks.tree(f"dataset:{name}", entry, "datasets", deployment=name in deployed)

    def _save_report(self, catalog: DataCatalog) -> None:
        self._catalog = None
        if self._checks is None:
            return
        logger.debug("The non-thinking policy took %.3f s of this run.", self._checks.evidence.seconds)
        if REPORT_DATASET in catalog:
            catalog.save(REPORT_DATASET, self._checks.report())


def _read_rules(project: Path, source: Path, base: str) -> RunChecks:
    from .policy import find_policy_file, load_policy
    from .run_checks import RunChecks

    file = find_policy_file(project, source, base)
    if file is None:
        logger.info("No policy.yml in %s: the rules that come with the policy hold.", source / base)
    return RunChecks(load_policy(file), project)


def _parameters(context: KedroContext) -> dict[str, Any]:
    from kedro.config import MissingConfigException

    try:
        return dict(context.config_loader["parameters"])
    except (MissingConfigException, KeyError):
        return {}


def _is_parameter(name: str) -> bool:
    return name == "parameters" or name.startswith("params:")


def _place(name: str) -> str:
    if name == "parameters":
        return name
    return f"parameter:{name.removeprefix('params:')}" if _is_parameter(name) else f"dataset:{name}"


def _plain(name: str, value: Any) -> Any:
    """Returns a parameter as a mapping under its name: ``params:enable_thinking`` is judged as a setting."""
    if not _is_parameter(name):
        return value
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    return value if isinstance(value, (dict, list)) else {name.removeprefix("params:"): value}


def _deploys(name: str) -> bool:
    return DEPLOYS.search(name) is not None


def _deploys_node(node: Node) -> bool:
    return any(_deploys(name) for name in (*node.tags, node.namespace or ""))


def _is_large(value: Any) -> bool:
    """Whether a value is a table or a text, in which nothing depends on what the node is for."""
    return isinstance(value, str) or type(value).__module__.partition(".")[0] in _TABLE_LIBRARIES


def _file_state(dataset: Any) -> FileState | None:
    """Returns the state of the one file that a dataset reads, or ``None`` if it reads none on this machine."""
    if getattr(dataset, "_protocol", "file") not in ("file", "local"):
        return None
    try:
        # Private, but Kedro's only way to the file of the version that is read. Where it is gone, or a dataset of
        # someone else's raises whatever it likes, each load is judged; test_hook notices.
        path = Path(dataset._get_load_path())
        state = path.stat()
    except Exception:  # noqa: BLE001
        return None
    if not stat.S_ISREG(state.st_mode):
        return None
    return str(path), state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns, state.st_mtime_ns


policy_hook = NonThinkingPolicyHook()
"""The one object that projects name in ``HOOKS``."""
