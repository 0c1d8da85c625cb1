"""Where the workers of a study run. Classes register by entry point ``spelling_transfer.trial_backends``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

WorkerState = Literal["starting", "running", "finished", "failed", "gone"]
"""``finished``: exit code 0; ``failed``: another one; ``gone``: the machine was taken away or killed."""


class TrialBackend(Protocol):
    """Starts, watches and stops workers: processes here, or jobs on rented machines.

    A worker is a command. It takes trials from the study's storage until none is left, so a back end knows nothing of
    trials, and losing a worker loses at most the steps since the last checkpoint of its trial.
    """

    def start(self, worker: int, command: Sequence[str], env: Mapping[str, str]) -> str:
        """Starts a worker.

        Args:
            worker: Its number, from 0; starting the same number twice must not make two of them.
            command: Program and arguments.
            env: Variables to set, beside those the machine has; no secret may appear in ``command``.

        Returns:
            An id for the other methods.
        """
        ...

    def poll(self, ids: Sequence[str]) -> dict[str, WorkerState]:
        """Returns where each worker stands; one call for all of them."""
        ...

    def stop(self, ids: Sequence[str]) -> None:
        """Ends workers and what they started; one that has ended already is no error."""
        ...
