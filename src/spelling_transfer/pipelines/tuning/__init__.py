"""Search the hyperparameters of LoRA on spelling, see what transfers, train the best."""

from spelling_transfer.pipelines.tuning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
