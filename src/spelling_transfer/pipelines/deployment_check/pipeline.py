"""Wiring of the deployment check."""

from __future__ import annotations

from typing import Any

from kedro.pipeline import Pipeline, node, pipeline

from spelling_transfer.pages.serving import plot_load, render_deployment_page
from spelling_transfer.pipelines.deployment_check import nodes


def create_pipeline(**kwargs: Any) -> Pipeline:
    """Returns the pipeline: export, probe endpoint, plot load, report conformance, enforce.

    Starting the endpoint is no node of its own: a server that outlives its node would be left behind by a failed run,
    and could not be reached from the machine on which the next node runs.
    """
    return pipeline(
        [
            node(
                nodes.export,
                inputs={
                    "base_model": "base_model",
                    "best_adapter": "best_adapter",
                    "tokenizer": "tokenizer",
                    "english_subset": "english_subset",
                    "policy_rules": "policy_rules",
                    "model_profile": "params:model_profile",
                    "endpoint": "params:endpoint",
                    "settings": "params:deployment_check",
                },
                outputs=["deployable", "merge_probe"],
                name="export",
                tags=["gpu"],
            ),
            node(
                nodes.probe_endpoint,
                inputs={
                    "deployable": "deployable",
                    "base_model": "base_model",
                    "best_adapter": "best_adapter",
                    "tokenizer": "tokenizer",
                    "english_subset": "english_subset",
                    "examples": "examples",
                    "policy_rules": "policy_rules",
                    "model_profile": "params:model_profile",
                    "settings": "params:deployment_check",
                    "load": "params:endpoint_load",
                },
                outputs=["conformance", "load_profile"],
                name="probe_endpoint",
                tags=["gpu"],
            ),
            node(
                nodes.enforce,
                inputs=["conformance", "deployment_page", "params:deployment_check"],
                outputs=None,
                name="enforce",
            ),
            _report(),
        ],
        namespace="deployment_check",
        prefix_datasets_with_namespace=False,
    )


def _report() -> Pipeline:
    """Returns figures and page, a box of their own in the graph."""
    return pipeline(
        [
            node(
                plot_load,
                inputs="load_profile",
                outputs="deployment_load_plot",
                name="plot_load",
                tags=["report"],
            ),
            node(
                render_deployment_page,
                inputs={
                    "conformance": "conformance",
                    "merge_probe": "merge_probe",
                    "load_profile": "load_profile",
                    "load_plot": "deployment_load_plot",
                    "env": "params:run_env",
                },
                outputs="deployment_page",
                name="report_conformance",
                tags=["report"],
            ),
        ],
        namespace="report",
        prefix_datasets_with_namespace=False,
    )
