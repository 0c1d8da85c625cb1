"""Choose words, split them by family, write examples, encode them; needs no GPU and no network."""

from spelling_transfer.pipelines.local_prep.pipeline import create_pipeline

__all__ = ["create_pipeline"]
