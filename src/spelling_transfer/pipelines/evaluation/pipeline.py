"""Wiring of the evaluation."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node, pipeline

from spelling_transfer.evaluation.layer_probes import probe_layers
from spelling_transfer.pages.probes import plot_probes
from spelling_transfer.pipelines.evaluation import nodes
from spelling_transfer.pipelines.reports import figure_inputs

_ASKING = ("gpu", "group-asking")
"""One rented machine for both: probes that are not enabled rent none."""

_FIGURES = {
    "scores": "evaluation_scores_plot",
    "arms": "evaluation_arms_plot",
    "strata": "evaluation_strata_plot",
    "dose": "evaluation_dose_plot",
    "errors": "evaluation_errors_plot",
}
"""The dataset of each figure, in the order in which ``nodes.plot`` returns them."""


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Returns the pipeline, from answers to the page."""
    return pipeline(
        [
            node(
                nodes.answer,
                inputs={
                    "base_model": "base_model",
                    "arm_adapters": "arm_adapters",
                    "tokenizer": "tokenizer",
                    "examples": "examples",
                    "encoded_examples": "encoded_examples",
                    "english_subset": "english_subset",
                    "kept_answers": "kept_answers",
                    "policy_rules": "policy_rules",
                    "model_profile": "params:model_profile",
                    "settings": "params:evaluation",
                },
                outputs=["answers", "decoded_answers"],
                name="answer",
                tags=_ASKING,
            ),
            node(
                probe_layers,
                inputs={
                    "base_model": "base_model",
                    "arm_adapters": "arm_adapters",
                    "examples": "examples",
                    "encoded_examples": "encoded_examples",
                    "answers": "answers",
                    "profile": "params:model_profile",
                    "settings": "params:evaluation",
                },
                outputs="layer_probes",
                name="probe_layers",
                tags=_ASKING,
            ),
            node(
                nodes.compare_decodings,
                inputs=["decoded_answers", "params:evaluation"],
                outputs=["decodings", "changed_answers"],
                name="compare_decodings",
            ),
            node(
                nodes.mark,
                inputs=["answers", "words", "tokenizer", "base_model", "arm_adapters", "params:evaluation"],
                outputs=["marked_answers", "scores", "arm_answers", "left_out"],
                name="mark",
            ),
            node(
                nodes.find_errors,
                inputs=["marked_answers", "tokenizer"],
                outputs=["answer_errors", "errors", "side_by_side"],
                name="find_errors",
            ),
            node(
                nodes.compare_arms,
                inputs=["marked_answers", "baselines", "params:evaluation", "params:study"],
                outputs=["comparison", "control_comparison", "floors", "verdict"],
                name="compare_arms",
            ),
            _report(),
        ],
        namespace="evaluation",
        prefix_datasets_with_namespace=False,
    )


def _report() -> Pipeline:
    """Returns figures and page, a box of their own in the graph."""
    return pipeline(
        [
            node(
                nodes.describe_arms,
                inputs=["arm_answers", "arm_curves", "base_validation_scores", "params:evaluation"],
                outputs=["arm_effects", "dose_curve"],
                name="describe_arms",
            ),
            node(
                nodes.track_tables,
                inputs=["scores", "comparison", "errors", "params:tracking", "params:study", "tuning_studies"],
                outputs="tracked_tables",
                name="track_tables",
            ),
            node(
                nodes.plot,
                inputs=["scores", "arm_effects", "dose_curve", "answer_errors"],
                outputs=list(_FIGURES.values()),
                name="plot_scores",
                tags=["report"],
            ),
            node(
                plot_probes,
                inputs="layer_probes",
                outputs="layer_probes_plot",
                name="plot_probes",
                tags=["report"],
            ),
            node(
                nodes.report,
                inputs={
                    "marked": "marked_answers",
                    "scores": "scores",
                    "comparison": "comparison",
                    "control": "control_comparison",
                    "verdict": "verdict",
                    "effects": "arm_effects",
                    "floors": "floors",
                    "left_out": "left_out",
                    "probes": "layer_probes",
                    "decodings": "decodings",
                    "changed_answers": "changed_answers",
                    "answer_errors": "answer_errors",
                    "errors": "errors",
                    "side_by_side": "side_by_side",
                    "tracked_tables": "tracked_tables",
                    "settings": "params:evaluation",
                    "run_env": "params:run_env",
                    "probes_drawn": "layer_probes_plot",
                    **figure_inputs(_FIGURES),
                },
                outputs="evaluation_page",
                name="report_scores",
                tags=["report"],
            ),
        ],
        namespace="report",
        prefix_datasets_with_namespace=False,
    )
