"""Questions and answers to evaluate."""

from tests.samples.answers import answers, examples

__all__ = ["answers", "examples"]
