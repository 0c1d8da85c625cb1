"""The pipelines of this project."""

from __future__ import annotations

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

NAMES = ("local_prep", "token_analysis", "tuning", "evaluation", "deployment_check")
"""The pipelines in the order in which they build on one another."""
GPU, CPU = "gpu", "cpu"
"""Tags: what a node runs on. The first is given in a pipeline's own file, the second to all others."""


def register_pipelines() -> dict[str, Pipeline]:
    """Returns the pipelines by name; ``__default__`` is all five."""
    # Here, so that 'kedro registry list' need not import what the nodes do.
    from spelling_transfer.graph import prepare_graph
    from spelling_transfer.pipelines import deployment_check, evaluation, local_prep, token_analysis, tuning

    prepare_graph()
    modules = (local_prep, token_analysis, tuning, evaluation, deployment_check)
    made = [module.create_pipeline() for module in modules]
    tagged = {name: Pipeline(map(_with_place, each.nodes)) for name, each in zip(NAMES, made, strict=True)}
    return {**tagged, "__default__": sum(tagged.values(), Pipeline([]))}


def _with_place(node: Node) -> Node:
    # What asks for no GPU says so too: every node can be found by where it runs.
    return node if GPU in node.tags else node.tag(CPU)
