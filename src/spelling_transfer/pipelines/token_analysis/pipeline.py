"""Wiring of the token analysis."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node, pipeline

from spelling_transfer.pipelines.reports import figure_inputs
from spelling_transfer.pipelines.token_analysis import nodes

ENGLISH, WORDS, TEMPLATE, PROBE, REPORT = "english", "words", "template", "probe", "report"
"""Tags: parts of the analysis, for ``kedro run --tags``."""
_FIGURES = {
    "token_classes": "token_classes_plot",
    "token_lengths": "token_lengths_plot",
    "token_scripts": "token_scripts_plot",
    "tokens_per_word": "tokens_per_word_plot",
    "coverage": "subset_coverage_plot",
    "probe": "letter_probe_plot",
}
"""The dataset of each figure, in the order in which ``nodes.plot`` returns them."""


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Returns the pipeline: vocabulary, English subset, words, template cost, coverage, probe, plot, report."""
    return pipeline(
        [
            node(
                nodes.describe_vocabulary,
                inputs=["tokenizer", "params:vocabulary_savings"],
                outputs=["vocabulary", "vocabulary_stats"],
                name="describe_vocabulary",
                tags=[ENGLISH, WORDS, PROBE],
            ),
            node(
                nodes.find_english_tokens,
                inputs=["vocabulary", "words", "tokenizer", "params:token_rules"],
                outputs=["english_tokens", "english_stats", "english_vocab", "english_subset"],
                name="find_english_tokens",
                tags=[ENGLISH],
            ),
            node(
                nodes.analyse_words,
                inputs=["words", "examples", "tokenizer", "params:word_analysis"],
                outputs=["word_tokens", "word_stats"],
                name="analyse_words",
                tags=[WORDS, ENGLISH],
            ),
            node(
                nodes.compare_template_cost,
                inputs=["tokenizer", "examples", "params:template_cost"],
                outputs="template_cost",
                name="compare_template_cost",
                tags=[TEMPLATE],
            ),
            node(
                nodes.measure_coverage,
                inputs={
                    "english_tokens": "english_tokens",
                    "word_tokens": "word_tokens",
                    "words": "words",
                    "encoded_examples": "encoded_examples",
                    "english_text": "english_text",
                    "tokenizer": "tokenizer",
                    "base_model": "base_model",
                    "model_profile": "params:model_profile",
                    "settings": "params:subset_coverage",
                    "saving": "params:vocabulary_savings",
                },
                outputs="subset_coverage",
                name="measure_coverage",
                tags=[ENGLISH],
            ),
            node(
                nodes.probe_embedding,
                inputs=["vocabulary", "base_model", "params:model_profile", "params:letter_probe"],
                outputs="letter_probe",
                name="probe_embedding",
                tags=[PROBE],
            ),
            _report(),
        ],
        namespace="token_analysis",
        prefix_datasets_with_namespace=False,
    )


def _report() -> Pipeline:
    """Returns figures and page, a box of their own in the graph."""
    return pipeline(
        [
            node(
                nodes.plot,
                inputs=[
                    "vocabulary_stats",
                    "english_stats",
                    "word_tokens",
                    "subset_coverage",
                    "letter_probe",
                ],
                outputs=list(_FIGURES.values()),
                name="plot_tokens",
                tags=[REPORT],
            ),
            node(
                nodes.report,
                inputs={
                    "vocabulary": "vocabulary_stats",
                    "english": "english_stats",
                    "subset": "english_subset",
                    "words": "word_stats",
                    "template": "template_cost",
                    "coverage": "subset_coverage",
                    "probe": "letter_probe",
                    "word_tokens": "word_tokens",
                    "run_env": "params:run_env",
                    **figure_inputs(_FIGURES),
                },
                outputs=["token_analysis_page", "token_findings"],
                name="report_tokens",
                tags=[REPORT],
            ),
        ],
        namespace="report",
        prefix_datasets_with_namespace=False,
    )
