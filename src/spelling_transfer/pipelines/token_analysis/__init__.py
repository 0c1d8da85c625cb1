"""What the tokens hide: the vocabulary, its English subset, words in tokens, and what a token's embedding reveals."""

from spelling_transfer.pipelines.token_analysis.pipeline import create_pipeline

__all__ = ["create_pipeline"]
