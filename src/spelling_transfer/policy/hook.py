"""The Kedro hook: a violation stops the run before a node has run, let alone a machine been rented.

It is found by its entry point (``kedro.hooks``) wherever this package is installed. Do not list it in ``HOOKS`` of
``settings.py`` as well: pluggy refuses the same object under two names, and a second object would check everything twice.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl

# What needs pydantic is imported when a run begins: every kedro command that opens a session imports this module.
if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

    from spelling_transfer.policy.exemptions import Exemptions
    from spelling_transfer.policy.findings import Finding
    from spelling_transfer.policy.judge import Judge
    from spelling_transfer.policy.keys import Problem
    from spelling_transfer.policy.report import Evidence
    from spelling_transfer.policy.rules import Policy

REPORT_DATASET = "policy_report"
"""If the catalog has a dataset of this name, the evidence of each run is saved to it."""

_CONFIGURATION = (".yml", ".yaml", ".json", ".toml", ".env")
_DEPLOYS = re.compile(r"(?:^|[._:\s])(?:deploy|serv(?:e|ing)|endpoint)", re.IGNORECASE)
logger = logging.getLogger(__name__)


class NonThinkingPolicyHook:
    """Checks configuration, parameters, datasets and the inputs of nodes."""

    def __init__(self) -> None:
        """Makes a hook without rules; they are read when a context is there."""
        self._lock = threading.Lock()
        self._judge: Judge | None = None
        self._policy: Policy | None = None
        self._exemptions: Exemptions | None = None
        self._evidence: Evidence | None = None

    @property
    def evidence(self) -> Evidence | None:
        """What was checked since the context was made."""
        return self._evidence

    # -- before anything runs ------------------------------------------------------------------------------------------

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Reads the rules, then checks the files of the active environment, its parameters and those of the command.

        Raises:
            PolicyFileError: ``policy.yml`` is not what it should be.
            PolicyViolationError: A file or a parameter breaks a rule.
        """
        started = time.perf_counter()
        loader = context.config_loader
        source = Path(getattr(loader, "conf_source", context.project_path / "conf"))
        base = getattr(loader, "base_env", "") or "base"
        env = getattr(loader, "env", None) or getattr(loader, "default_run_env", "") or base
        self._start(context.project_path, source, base)
        findings = list(self._configuration_files(context.project_path, source, (base, env), base))
        runtime = getattr(loader, "runtime_params", None) or {}
        findings += self._tree("--params", runtime, "configuration")
        findings += self._tree("parameters", _parameters(context), "configuration")
        self._settle(findings, started)

    @hook_impl
    def after_catalog_created(self, conf_catalog: dict[str, Any] | None) -> None:
        """Checks the catalog as it was resolved for the active environment; credentials are not looked at."""
        started = time.perf_counter()
        self._start()
        findings = []
        for name, entry in (conf_catalog or {}).items():
            findings += self._tree(f"dataset:{name}", entry, "configuration", deployment=_deploys(name))
        self._settle(findings, started)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Checks every dataset and parameter that the run can reach, and the options it was started with."""
        started = time.perf_counter()
        self._start()
        findings = list(self._tree("kedro run", run_params.get("runtime_params") or {}, "run"))
        deploying = {name for node in pipeline.nodes if _deploys_node(node) for name in node.inputs}
        resolver = getattr(catalog, "config_resolver", None)
        for name in sorted(pipeline.datasets()):
            if name == "parameters" or name.startswith("params:"):
                if name in pipeline.inputs() and name in catalog:
                    value = _quietly_load(catalog, name)
                    findings += self._tree(_parameter(name), _plain(name, value), "parameters", deployment=name in deploying)
                continue
            entry = resolver.resolve_pattern(name) if resolver is not None else {}
            findings += self._tree(f"dataset:{name}", _without_credentials(entry), "datasets", deployment=name in deploying)
        self._settle(findings, started)

    # -- while it runs -----------------------------------------------------------------------------------------------------

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Checks tokenizers, generation settings and parameters among the inputs of a node."""
        started = time.perf_counter()
        deployment = _deploys_node(node)
        findings: list[Finding] = []
        for name, value in inputs.items():
            if not _is_table(value):
                findings += self._data(name, value, "node inputs", deployment=deployment)
        self._settle(findings, started)

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str) -> None:
        """Makes sure that the rules are there, also in a process of a parallel runner."""
        self._start()
        if self._evidence is not None:
            self._evidence.note("loads", dataset_name)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Checks what was loaded: texts, token ids, settings, model folders."""
        started = time.perf_counter()
        self._settle(self._data(dataset_name, data, "loaded"), started)

    @hook_impl
    def before_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Checks what is to be saved, so that a violation is not written."""
        started = time.perf_counter()
        self._settle(self._data(dataset_name, data, "saved", exported=True), started)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Checks a model folder once more where it came to stand."""
        started = time.perf_counter()
        if isinstance(getattr(data, "path", None), Path):
            self._settle(self._data(dataset_name, data, "exported folders", exported=True), started)

    # -- afterwards -----------------------------------------------------------------------------------------------------------

    @hook_impl
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Saves the evidence, if the catalog has a place for it."""
        self._save_report(catalog)

    @hook_impl
    def on_pipeline_error(self, catalog: CatalogProtocol) -> None:
        """Saves the evidence of a run that failed, the violation included."""
        self._save_report(catalog)

    # -- inside ---------------------------------------------------------------------------------------------------------------

    def _start(self, project: Path | None = None, source: Path | None = None, base: str = "base") -> None:
        """Reads the rules, once for each context; a process without a context reads those of its working folder."""
        if project is None and self._judge is not None:
            return
        from spelling_transfer.policy.exemptions import Exemptions
        from spelling_transfer.policy.judge import Judge
        from spelling_transfer.policy.loading import find_policy_file, load_policy
        from spelling_transfer.policy.report import Evidence

        with self._lock:
            if project is None and self._judge is not None:
                return
            if project is None:
                from kedro.utils import find_kedro_project

                project = find_kedro_project(Path.cwd()) or Path.cwd()
            file = find_policy_file(project, source, base)
            if file is None:
                logger.info("No policy.yml in %s: the rules that come with the policy hold.", source or project)
            self._policy = load_policy(file)
            self._exemptions = Exemptions(self._policy)
            self._evidence = Evidence()
            self._judge = Judge(self._policy)

    def _configuration_files(self, project: Path, source: Path, envs: Iterable[str], base: str) -> Iterator[Finding]:
        from spelling_transfer.policy.findings import Finding
        from spelling_transfer.policy.loading import POLICY_FILE
        from spelling_transfer.policy.scanner.engine import Scanner

        assert self._policy is not None
        assert self._evidence is not None
        scanner = Scanner(self._policy, project)
        for env in dict.fromkeys(envs):
            folder = source / env
            for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
                if file.suffix not in _CONFIGURATION or "credentials" in file.name or not file.is_file():
                    continue
                shown = scanner.shown(file)
                if file.name == POLICY_FILE:
                    if env != base:
                        yield Finding(shown, 0, "policy-off", "an environment with a policy of its own", env)
                    continue
                self._evidence.note("configuration", shown)
                # A broken file is not reported here: whoever loads it says what is wrong with it.
                yield from scanner.scan_file(file).findings

    def _tree(self, place: str, value: Any, kind: str, *, deployment: bool = False) -> Iterator[Finding]:
        assert self._judge is not None
        assert self._evidence is not None
        self._evidence.note(kind, place)
        for path, problem in self._judge.tree(value, deployment=deployment):
            inside = ".".join(str(part) for part in path)
            yield _finding(f"{place}.{inside}" if inside else place, problem)

    def _data(
        self, name: str, data: Any, kind: str, *, deployment: bool = False, exported: bool = False
    ) -> list[Finding]:
        from spelling_transfer.policy.frames import judge_data

        self._start()
        assert self._judge is not None
        assert self._evidence is not None
        place = _parameter(name) if name == "parameters" or name.startswith("params:") else f"dataset:{name}"
        self._evidence.note(kind, place)
        data = _plain(name, data) if place != f"dataset:{name}" else data
        found = judge_data(data, self._judge, deployment=deployment, exported=exported)
        return [_finding(f"{place}#{inside}" if inside else place, problem) for inside, problem in found]

    def _settle(self, findings: Iterable[Finding], started: float) -> None:
        """Notes what was found and how long it took, and stops the run if no exemption covers it."""
        from spelling_transfer.policy.errors import PolicyViolationError

        assert self._exemptions is not None
        assert self._evidence is not None
        assert self._policy is not None
        findings = list(findings)
        with self._lock:
            left = self._exemptions.filter(findings) if findings else []
            self._evidence.seconds += time.perf_counter() - started
            self._evidence.findings += left
        if left:
            raise PolicyViolationError(left, self._policy)

    def _save_report(self, catalog: CatalogProtocol) -> None:
        from spelling_transfer.policy.report import build_report

        if self._policy is None or self._evidence is None or self._exemptions is None:
            return
        logger.debug("The non-thinking policy took %.3f s of this run.", self._evidence.seconds)
        if REPORT_DATASET in catalog:
            catalog.save(REPORT_DATASET, build_report(self._policy, self._evidence, self._exemptions.used()))


def _finding(place: str, problem: Problem) -> Finding:
    from spelling_transfer.policy.findings import Finding

    return Finding(place, 0, problem.rule, problem.message, problem.value)


def _parameters(context: KedroContext) -> dict[str, Any]:
    from kedro.config import MissingConfigException

    try:
        parameters = context.config_loader["parameters"]
    except (MissingConfigException, KeyError):
        return {}
    return dict(parameters)


def _parameter(name: str) -> str:
    return f"parameter:{name.removeprefix('params:')}" if name != "parameters" else "parameters"


def _plain(name: str, value: Any) -> Any:
    """Returns a parameter as a mapping under its own name, so that ``params:enable_thinking`` is judged as a setting."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, (dict, list)):
        return value
    return {name.removeprefix("params:"): value}


def _quietly_load(catalog: CatalogProtocol, name: str) -> Any:
    """Loads a parameter without a line in the log for each."""
    dataset = catalog.get(name)
    return None if dataset is None else dataset.load()


def _without_credentials(entry: Any) -> Any:
    return {key: value for key, value in entry.items() if key != "credentials"} if isinstance(entry, dict) else entry


def _deploys(name: str) -> bool:
    return _DEPLOYS.search(name) is not None


def _deploys_node(node: Node) -> bool:
    return any(_deploys(name) for name in (*node.tags, node.namespace or ""))


def _is_table(value: Any) -> bool:
    """Whether a value was judged when it was loaded, and is too large to be judged twice."""
    return type(value).__module__.partition(".")[0] in ("pandas", "pyarrow", "numpy", "polars") or isinstance(value, str)


policy_hook = NonThinkingPolicyHook()
"""The one object that Kedro registers, named in the entry point."""
