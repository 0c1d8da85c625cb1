"""Wiring of the tuning."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node, pipeline

from spelling_transfer.pipelines.reports import figure_inputs
from spelling_transfer.pipelines.tuning import analysis, nodes
from spelling_transfer.study.confirm import confirm
from spelling_transfer.study.findings import rate_settings
from spelling_transfer.study.recommend import recommend

_MATERIAL = ["base_model", "tokenizer", "examples", "encoded_examples", "english_subset"]
_STUDY = ["params:study", "params:trial"]
_RETRAINING = ["params:model_profile", "params:study", "params:arms"]
_FIGURES = {
    "curves": "tuning_curves_plot",
    "transfer": "tuning_transfer_plot",
    "paths": "tuning_paths_plot",
    "patterns": "tuning_patterns_plot",
    "pareto": "tuning_pareto_plot",
    "importance": "tuning_importance_plot",
    "parallel": "tuning_parallel_plot",
    "history": "tuning_history_plot",
}
"""The dataset of each figure, in the order in which ``analysis.plot`` returns them."""
_SETTINGS = ["params:model_profile", "params:study", "params:trial"]


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Returns the pipeline: read space, run study, analyse, recommend, train the arms, report."""
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
                inputs=["search_space", "tuning_studies", *_MATERIAL, *_SETTINGS, "params:tracking"],
                outputs=[
                    "trials",
                    "learning_curves",
                    "trial_seconds",
                    "base_validation_scores",
                    "trial_marks",
                    "study_environment",
                ],
                name="run_study",
                tags=["gpu"],
            ),
            node(
                analysis.analyse,
                inputs=[
                    "trials",
                    "learning_curves",
                    "trial_marks",
                    "base_validation_scores",
                    "params:study",
                    "params:analysis",
                ],
                outputs=["transfer_analysis", "transfer_by_trial", "training_patterns"],
                name="analyse_transfer",
            ),
            node(
                rate_settings,
                inputs=["trials", "search_space", "params:analysis"],
                outputs="parameter_importance",
                name="rate_settings",
            ),
            node(
                recommend,
                inputs=["trials", "trial_marks", "search_space", *_STUDY, "params:analysis"],
                outputs="recommendation",
                name="recommend",
            ),
            node(
                nodes.train_all,
                inputs=["recommendation", "trials", "trial_marks", "tuning_studies", *_MATERIAL, *_RETRAINING],
                outputs=[
                    "best_adapter",
                    "arm_adapters",
                    "arm_curves",
                    "arm_runs",
                    "confirmation_runs",
                    "confirmation_marks",
                    "control_marks",
                ],
                name="train_arms",
                tags=["gpu"],
            ),
            node(
                confirm,
                inputs=[
                    "recommendation",
                    "confirmation_runs",
                    "confirmation_marks",
                    "control_marks",
                    "params:study",
                    "params:analysis",
                ],
                outputs="best_config",
                name="confirm",
            ),
            _report(),
        ],
        namespace="tuning",
        prefix_datasets_with_namespace=False,
    )


def _report() -> Pipeline:
    """Returns figures and page, a box of their own in the graph."""
    return pipeline(
        [
            node(
                analysis.plot,
                inputs=[
                    "trials",
                    "learning_curves",
                    "trial_seconds",
                    "base_validation_scores",
                    "transfer_by_trial",
                    "training_patterns",
                    "parameter_importance",
                    "search_space",
                    "recommendation",
                ],
                outputs=list(_FIGURES.values()),
                name="plot_trials",
                tags=["report"],
            ),
            node(
                analysis.report,
                inputs={
                    "trials": "trials",
                    "curves": "learning_curves",
                    "seconds": "trial_seconds",
                    "analysis": "transfer_analysis",
                    "changes": "transfer_by_trial",
                    "patterns": "training_patterns",
                    "importance": "parameter_importance",
                    "best": "best_config",
                    "search_space": "search_space",
                    "environment": "study_environment",
                    "study": "params:study",
                    "defaults": "params:trial",
                    "run_env": "params:run_env",
                    **figure_inputs(_FIGURES),
                },
                outputs=["tuning_page", "tuning_findings"],
                name="report_trials",
                tags=["report"],
            ),
        ],
        namespace="report",
        prefix_datasets_with_namespace=False,
    )
