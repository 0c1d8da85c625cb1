"""Evaluation of the base and the other arms on held-out word families."""

from spelling_transfer.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
