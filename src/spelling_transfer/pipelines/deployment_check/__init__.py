"""Export of the trained model and check of its endpoint before it ships."""

from spelling_transfer.pipelines.deployment_check.pipeline import create_pipeline

__all__ = ["create_pipeline"]
