"""Kedro's hooks around a run: the summary at its end, and what Kedro-Viz shows of it."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl
from kedro.utils import find_kedro_project

from spelling_transfer.files import from_here
from spelling_transfer.storage.runs import is_part_of_a_run

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

    from spelling_transfer.pages.run_results import Results, RunRecord

logger = logging.getLogger(__name__)

_STYLES = {"up": "green", "down": "yellow"}
SUMMARY, PAGE = "run_summary", "summary_page"


class RunSummaryHook:
    """A Kedro hook that says at the end of a run what was found.

    It speaks only of what there is: a run of one pipeline sums up what that pipeline made. A run of chosen nodes
    (``kedro run --nodes``) is a part of another run, perhaps on a rented machine, and leaves no summary of its own.
    """

    def __init__(self) -> None:
        self._record: RunRecord | None = None
        self._context: KedroContext | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keeps the way to the parameters as they were given.

        The catalog holds them with the defaults of the models that the chosen pipelines use, so their hash would depend
        on which pipelines were run.
        """
        self._context = context

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Begins the record of the run."""
        self._record = None  # of a run that was interrupted, in a notebook
        if is_part_of_a_run(run_params):
            return
        from spelling_transfer.pages.run_results import RunRecord, command_of

        names = run_params.get("pipeline_names") or []
        self._record = RunRecord(
            str(run_params.get("run_id", "")),
            [str(name) for name in names],
            run_params.get("env"),
            command_of(run_params),
        )

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """Notes when a node begins to load its inputs."""
        self._touch(node)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Notes when a node begins."""
        self._touch(node)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Notes when a node has its outputs."""
        self._touch(node)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Notes when an output is saved."""
        self._touch(node)
        if self._record is not None:
            self._record.made.add(dataset_name)

    # Last: what other hooks save at the end of a run is on the page.
    @hook_impl(trylast=True)
    def after_pipeline_run(
        self, run_params: dict[str, Any], run_result: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Writes the summary of a finished run and prints it; what keeps it from that is said and fails no run."""
        record, self._record = self._record, None
        if record is None:
            return
        # A runner whose nodes run in other processes fires no node hooks in this one. The pipeline has also what
        # --only-missing-outputs left alone; the result has only what was run.
        ran = run_result if run_params.get("only_missing_outputs") else pipeline.all_outputs()
        made = record.made or set(ran)
        try:
            results = self._collect(catalog, frozenset(made))
            _write(catalog, record, results)
            _print(record, results, catalog)
        except Exception as error:  # noqa: BLE001  (what the nodes made is there)
            logger.warning("The run has finished, but its summary could not be written: %s", error)

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception, catalog: DataCatalog) -> None:
        """Writes how far a run came that stopped; the error itself is the command's to tell."""
        record, self._record = self._record, None
        if record is None:
            return
        try:
            results = self._collect(catalog, frozenset(record.made))
            _write(catalog, record, results, error=str(error).strip() or type(error).__name__)
        except Exception as second:  # noqa: BLE001  (the first error must stay the last word)
            logger.warning("The summary of the run could not be written: %s", second)

    def _touch(self, node: Node) -> None:
        if self._record is not None:
            self._record.touch(node.name)

    def _collect(self, catalog: DataCatalog, made: frozenset[str]) -> Results:
        from spelling_transfer.pages.run_results import collect_results

        parameters = None
        if self._context is not None:
            with suppress(MissingConfigException):
                parameters = self._context.config_loader["parameters"]
        return collect_results(catalog, made, parameters, self._old(catalog))

    def _old(self, catalog: DataCatalog) -> dict[str, str]:
        """Returns why datasets are not what a run would make now; nothing in a project that keeps no record."""
        from kedro.framework.project import pipelines
        from kedro.pipeline import Pipeline

        from spelling_transfer.storage.freshness import find_stale
        from spelling_transfer.storage.history import storage_root_of

        if self._context is None or not storage_root_of(self._context):
            return {}
        everything: Pipeline = sum(pipelines.values(), Pipeline([]))
        try:
            stale = find_stale(self._context, catalog, everything)
        except Exception as error:  # noqa: BLE001  (the summary says what it can)
            logger.warning("What is old could not be found out: %s", error)
            return {}
        return {
            output: stale[node.name][0] for node in everything.nodes for output in node.outputs if node.name in stale
        }


class RunStatusHook:
    """A Kedro hook that keeps the run status of Kedro-Viz whole: what runs again replaces its own part alone.

    Kedro-Viz follows no run of chosen nodes, and takes a run of chosen pipelines for one of all.
    """

    # Last: its own hook has decided by then.
    @hook_impl(trylast=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Has Kedro-Viz follow the run, beside what is known of the nodes that are not in it."""
        with suppress(Exception):  # a picture is no reason to fail
            from kedro_viz.integrations.kedro.hooks_utils import EVENTS_DIR, EVENTS_FILE
            from kedro_viz.integrations.kedro.run_hooks import pipeline_run_hook as status

            project = Path(find_kedro_project(Path.cwd()) or Path.cwd())
            file = project / EVENTS_DIR / EVENTS_FILE
            earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
            ours = {node.name for node in pipeline.nodes} | pipeline.all_outputs()
            begun = {"event": "before_pipeline_run", "timestamp": datetime.now(UTC).isoformat()}
            others = [each for each in earlier if not {each.get("node"), each.get("dataset")} & ours]
            status._events = [begun, *(each for each in others if each["event"] not in _OF_A_RUN)]
            status._datasets = catalog
            status._all_nodes, status._started_nodes = list(pipeline.nodes), set()
            status._should_collect_events = True


_OF_A_RUN = {"before_pipeline_run", "after_pipeline_run", "on_pipeline_error"}


def _write(catalog: DataCatalog, record: RunRecord, results: Results, *, error: str | None = None) -> None:
    from spelling_transfer.pages.run_summary import render_summary_page, summary_document

    for name, made in ((SUMMARY, summary_document), (PAGE, render_summary_page)):
        if name in catalog:
            catalog[name].save(made(record, results, error=error))


def _print(record: RunRecord, results: Results, catalog: DataCatalog) -> None:
    from rich.console import Console
    from rich.text import Text

    from spelling_transfer.pages.numbers import duration
    from spelling_transfer.pages.run_results import location
    from spelling_transfer.pages.run_summary import ANSWER, MAX_LINES, Line, summary_lines

    found = summary_lines(results.only_made_now())
    # Whoever reads one line reads the answer, and whoever reads two knows where the rest is.
    lines = [line for line in found if line.label == ANSWER]
    if PAGE in catalog:
        lines.append(Line("open", from_here(location(catalog[PAGE]))))
    lines += [line for line in found if line.label != ANSWER]
    lines += [Line("unread", f"{name}: {why}", "down") for name, why in results.unreadable.items()]
    lines.append(Line("took", duration(record.seconds)))
    console = Console(highlight=False, soft_wrap=True)
    for line in lines[:MAX_LINES]:
        console.print(Text.assemble((f"{line.label:<10}", "bold"), (line.text, _STYLES.get(line.tone, ""))))
