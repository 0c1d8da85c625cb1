"""Search hyperparameters of LoRA on spelling, analyse transfer, train every arm with the best."""

from spelling_transfer.pipelines.tuning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
