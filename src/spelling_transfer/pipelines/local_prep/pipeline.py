"""Wiring of local preparation."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node, pipeline

from spelling_transfer.pipelines.local_prep import nodes


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Returns the pipeline: select words, split by family, rate difficulty, write examples, encode, write manifest."""
    return pipeline(
        [
            node(
                nodes.select,
                inputs=["word_list", "tokenizer", "params:word_selection"],
                outputs=["selected_words", "dropped_words"],
                name="select_words",
            ),
            node(
                nodes.split_by_family,
                inputs=["selected_words", "tokenizer", "params:word_selection"],
                outputs=["split_words", "split_report"],
                name="split_by_family",
            ),
            node(
                nodes.rate,
                inputs=["split_words", "tokenizer", "scoring_model", "params:difficulty", "params:model_profile"],
                outputs="words",
                name="rate_difficulty",
                tags=["mac"],
            ),
            node(
                nodes.write,
                inputs=["words", "tokenizer", "params:example_mix"],
                outputs=["examples", "baselines"],
                name="write_examples",
            ),
            node(
                nodes.encode,
                inputs=["examples", "tokenizer"],
                outputs=["encoded_examples", "example_counts"],
                name="encode",
            ),
            node(
                nodes.describe,
                inputs={
                    "prep_files": "prep_files",
                    "example_counts": "example_counts",
                    "split_report": "split_report",
                    "dropped_words": "dropped_words",
                    "tokenizer": "tokenizer",
                    "word_selection": "params:word_selection",
                    "difficulty": "params:difficulty",
                    "example_mix": "params:example_mix",
                },
                outputs="prep_manifest",
                name="write_manifest",
            ),
        ],
        namespace="local_prep",
        prefix_datasets_with_namespace=False,
    )
