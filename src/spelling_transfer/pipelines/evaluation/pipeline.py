"""Wiring of the evaluation."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node, pipeline

from spelling_transfer.pipelines.evaluation import nodes


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
                    "model_profile": "params:model_profile",
                    "settings": "params:evaluation",
                },
                outputs=["answers", "decoded_answers"],
                name="answer",
                tags=["gpu"],
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
                inputs=["marked_answers", "params:evaluation", "params:study"],
                outputs=["comparison", "control_comparison", "verdict"],
                name="compare_arms",
            ),
            node(
                nodes.track_tables,
                inputs=["scores", "comparison", "errors", "params:tracking", "params:study", "tuning_studies"],
                outputs="tracked_tables",
                name="track_tables",
            ),
            node(
                nodes.plot,
                inputs=["scores", "comparison"],
                outputs=["evaluation_scores_plot", "evaluation_differences_plot", "evaluation_tokens_plot"],
                name="plot_scores",
                tags=["report"],
            ),
            node(
                nodes.report,
                inputs=[
                    "marked_answers",
                    "scores",
                    "comparison",
                    "control_comparison",
                    "verdict",
                    "decodings",
                    "changed_answers",
                    "answer_errors",
                    "errors",
                    "side_by_side",
                    "tracked_tables",
                    "params:evaluation",
                ],
                outputs="evaluation_page",
                name="report_scores",
                tags=["report"],
            ),
        ],
        namespace="evaluation",
        prefix_datasets_with_namespace=False,
    )
