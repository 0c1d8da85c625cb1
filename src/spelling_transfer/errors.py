"""The base of every error that is written for the user of this project."""

from __future__ import annotations

from collections.abc import Iterator


class SpellingTransferError(Exception):
    """An error whose message names the thing that is wrong and what to do about it.

    The command line prints the message alone, without a traceback, and exits with 1. Each module defines its own
    subclasses beside the code that raises them.
    """


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and what led to it, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
