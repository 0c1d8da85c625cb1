"""The words and examples that the tests of the tasks use as well."""

from tests.tasks.conftest import examples, words

__all__ = ["examples", "words"]
