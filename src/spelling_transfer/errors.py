"""The base of every error that is written for the user of this project."""


class SpellingTransferError(Exception):
    """An error whose message names the thing that is wrong and what to do about it.

    The command line prints the message alone, without a traceback, and exits with 1. Each module defines its own
    subclasses beside the code that raises them.
    """
