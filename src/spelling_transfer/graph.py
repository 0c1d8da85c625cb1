"""How Kedro-Viz draws folded pipelines: their boxes and what passes between them."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

_TREES = "kedro_viz.data_access.repositories.modular_pipelines"
_ROOT = "__root__"


def fold_own_datasets() -> None:
    """Has Kedro-Viz keep inside a folded pipeline what no other pipeline reads or makes; without it, does nothing.

    By itself it draws whatever a pipeline reads and no node makes, and whatever it leaves and no node reads, beside the
    folded box, and has no setting for it (https://github.com/kedro-org/kedro-viz/issues/1817): here more than the
    datasets that pass between pipelines. Unfolded, a pipeline shows all it has, as ever.
    """
    trees = sys.modules.get(_TREES)  # imported where the graph is drawn, and in no run
    if trees is None or hasattr(trees, fold_own_datasets.__name__):
        return
    populate = trees.ModularPipelinesRepository.populate_tree

    def populate_and_fold(repository: Any, pipeline: Any) -> None:
        populate(repository, pipeline)
        _fold(repository.tree)

    trees.ModularPipelinesRepository.populate_tree = populate_and_fold
    setattr(trees, fold_own_datasets.__name__, fold_own_datasets)


def _fold(tree: dict[str, Any]) -> None:
    outer = [pipeline for name, pipeline in tree.items() if name != _ROOT and "." not in name]
    users = Counter(dataset for pipeline in outer for dataset in pipeline.inputs | pipeline.outputs)
    for pipeline in outer if len(outer) > 1 else ():  # alone, a pipeline shows what goes in and out
        own = {child for child in tree[_ROOT].children if child.id in pipeline.inputs | pipeline.outputs}
        own = {child for child in own if users[child.id] == 1}
        tree[_ROOT].children -= own
        pipeline.children |= own
        pipeline.inputs -= {child.id for child in own}
        pipeline.outputs -= {child.id for child in own}
