"""How Kedro-Viz draws the project: folded pipelines as boxes and what passes between them, and where a run ends."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from kedro.pipeline import Pipeline

_TREES = "kedro_viz.data_access.repositories.modular_pipelines"
_MANAGERS = "kedro_viz.data_access.managers"
_ROOT = "__root__"
_EVERYTHING = "__default__"
_SUMMARY = "summary_page"


def prepare_graph() -> None:
    """Changes two methods of Kedro-Viz, which has no setting for either; where no graph is drawn, does nothing.

    By itself it draws whatever a pipeline reads and no node makes, and whatever it leaves and no node reads, beside
    the folded box (https://github.com/kedro-org/kedro-viz/issues/1817): here more than the datasets that pass between
    pipelines. They stay inside; unfolded, a pipeline shows all it has, as ever. And it draws what nodes make alone: the
    page that the end of every run leaves (`hooks`) is put behind the nodes whose pages it links to.
    """
    trees, managers = sys.modules.get(_TREES), sys.modules.get(_MANAGERS)  # imported where the graph is drawn alone
    if trees is not None:
        _follow(trees.ModularPipelinesRepository, "populate_tree", _fold)
    if managers is not None:
        _follow(managers.DataAccessManager, "add_pipeline", _add_summary)


def _follow(owner: type, name: str, after: Callable[..., None]) -> None:
    """Has a function called after each call of a method, with the same arguments; once, however often it is asked."""
    method = getattr(owner, name)
    if getattr(method, "followed_by", None) is after:
        return

    def both(*arguments: Any) -> None:
        method(*arguments)
        after(*arguments)

    both.followed_by = after  # type: ignore[attr-defined]
    setattr(owner, name, both)


def _fold(repository: Any, _: Pipeline) -> None:
    tree: dict[str, Any] = repository.tree
    outer = [pipeline for name, pipeline in tree.items() if name != _ROOT and "." not in name]
    users = Counter(dataset for pipeline in outer for dataset in pipeline.inputs | pipeline.outputs)
    for pipeline in outer if len(outer) > 1 else ():  # alone, a pipeline shows what goes in and out
        own = {child for child in tree[_ROOT].children if child.id in pipeline.inputs | pipeline.outputs}
        own = {child for child in own if users[child.id] == 1}
        tree[_ROOT].children -= own
        pipeline.children |= own
        pipeline.inputs -= {child.id for child in own}
        pipeline.outputs -= {child.id for child in own}


def _add_summary(manager: Any, registered: str, pipeline: Pipeline) -> None:
    if registered != _EVERYTHING:
        return
    repository = manager.modular_pipelines[registered]
    for node in pipeline.nodes:
        if node.namespace and any(output.endswith("_page") for output in node.outputs):
            task, _ = repository.get_node_and_modular_pipeline_mapping(node)
            page = manager.add_node_output(registered, _SUMMARY, manager.nodes.get_node_by_id(task), repository)
            manager.registered_pipelines.add_node(registered, page.id)
            parts = node.namespace.split(".")
            for depth in range(len(parts)):
                repository.tree[".".join(parts[: depth + 1])].outputs.add(page.id)
