"""The pipelines of this project."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from spelling_transfer.pipelines import deployment_check, evaluation, local_prep, token_analysis, tuning


def register_pipelines() -> dict[str, Pipeline]:
    """Returns the pipelines by name, in the order in which they build on one another; ``__default__`` is all five."""
    pipelines = {
        "local_prep": local_prep.create_pipeline(),
        "token_analysis": token_analysis.create_pipeline(),
        "tuning": tuning.create_pipeline(),
        "evaluation": evaluation.create_pipeline(),
        "deployment_check": deployment_check.create_pipeline(),
    }
    return {**pipelines, "__default__": sum(pipelines.values(), Pipeline([]))}
