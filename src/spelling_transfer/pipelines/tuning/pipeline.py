"""Wiring of the tuning."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node, pipeline

from spelling_transfer.pipelines.tuning import nodes

_MATERIAL = ["base_model", "tokenizer", "examples", "encoded_examples", "english_subset"]
_SETTINGS = ["params:model_profile", "params:study", "params:trial"]


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Returns the pipeline: read space, run study, analyse transfer, recommend, train best, plot, report."""
    return pipeline(
        [
            node(
                nodes.read_search_space,
                inputs=["params:study", "params:trial"],
                outputs="search_space",
                name="read_space",
            ),
            node(
                nodes.run_trials,
                inputs=["search_space", *_MATERIAL, *_SETTINGS],
                outputs=["trials", "learning_curves", "trial_seconds", "base_validation_scores", "trial_marks"],
                name="run_study",
                tags=["gpu"],
            ),
            node(
                nodes.analyse,
                inputs=["trials", "learning_curves", "base_validation_scores"],
                outputs="transfer_analysis",
                name="analyse_transfer",
            ),
            node(nodes.choose, inputs=["trials", "params:trial"], outputs="best_config", name="recommend"),
            node(
                nodes.train_best,
                inputs=["best_config", *_MATERIAL, *_SETTINGS],
                outputs="best_adapter",
                name="train_best",
                tags=["gpu"],
            ),
            node(
                nodes.plot,
                inputs=["trials", "learning_curves", "base_validation_scores"],
                outputs=["tuning_curves_plot", "tuning_transfer_plot"],
                name="plot",
            ),
            node(
                nodes.report,
                inputs=[
                    "trials",
                    "transfer_analysis",
                    "best_config",
                    "trial_seconds",
                    "tuning_curves_plot",
                    "tuning_transfer_plot",
                    "params:study",
                ],
                outputs="tuning_page",
                name="report",
            ),
        ],
        namespace="tuning",
        prefix_datasets_with_namespace=False,
    )
