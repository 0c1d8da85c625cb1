"""The pipelines of this project."""

from __future__ import annotations

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from spelling_transfer.pipelines import deployment_check, evaluation, local_prep, token_analysis, tuning

GPU, CPU = "gpu", "cpu"
"""Tags: what a node runs on. The first is given in a pipeline's own file, the second to all others."""


def register_pipelines() -> dict[str, Pipeline]:
    """Returns the pipelines by name, in the order in which they build on one another; ``__default__`` is all five."""
    pipelines = {
        "local_prep": local_prep.create_pipeline(),
        "token_analysis": token_analysis.create_pipeline(),
        "tuning": tuning.create_pipeline(),
        "evaluation": evaluation.create_pipeline(),
        "deployment_check": deployment_check.create_pipeline(),
    }
    tagged = {name: Pipeline(map(_with_place, pipeline.nodes)) for name, pipeline in pipelines.items()}
    return {**tagged, "__default__": sum(tagged.values(), Pipeline([]))}


def _with_place(node: Node) -> Node:
    # What asks for no GPU says so too: every node can be found by where it runs.
    return node if GPU in node.tags else node.tag(CPU)
