"""Workers of a study as jobs on rented machines; entry point ``lightning`` of ``spelling_transfer.trial_backends``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kedro_lightning import CommandJobs, CommandState


class LightningTrialBackend:
    """Starts each worker as a job of its own.

    A worker that loses its machine is ``gone`` and not started again here: whoever asked for it knows what it had.
    """

    def __init__(self, folder: Path) -> None:
        """Makes the back end of a study.

        Args:
            folder: The study's folder, which must be on a storage that the machines reach as well.
        """
        self._jobs = CommandJobs(f"study-{folder.name}", folder)

    def check(self, project: Path, env: str | None) -> None:
        """Checks what can be checked without the platform.

        Args:
            project: The project's folder.
            env: The environment of the settings.

        Raises:
            ComputeError: The settings, the budget or the study's folder do not suffice.
        """
        self._jobs.check(project, env)

    def start(self, worker: int, command: Sequence[str], env: Mapping[str, str]) -> str:
        """Starts a worker; one that runs already is left alone.

        Raises:
            ComputeError: The settings, the budget or the storage do not allow it; nothing was started.
        """
        return self._jobs.start(f"worker {worker}", command, env)

    def poll(self, ids: Sequence[str]) -> dict[str, CommandState]:
        """Returns where each worker stands, from what was seen last; asks the platform nothing."""
        return {each: self._jobs.state(each) for each in ids}

    def stop(self, ids: Sequence[str]) -> None:
        """Stops workers, and with the last one everything that runs for this study."""
        self._jobs.stop(ids)
