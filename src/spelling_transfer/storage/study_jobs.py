"""A study whose workers are jobs: they share a database and a `StudyPlace`, and no folder.

python -m spelling_transfer.storage.study_jobs PLACE VERSION --worker 0
"""

from __future__ import annotations

import hashlib
import pkgutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kedro_lightning import CommandJobs
from spelling_transfer.storage.access import cache_folder, set_up_stores
from spelling_transfer.storage.study_place import Sender, StudyPlace
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.interfaces import Evaluation, Monitor, Objective, TrialOutcome, WorkerState
from spelling_transfer.study.monitor import TrialInterruptedError, repeating
from spelling_transfer.study.plan import read_plan
from spelling_transfer.study.worker import OpenStudy, run_worker

_MODULE = "spelling_transfer.storage.study_jobs"
_LOOK_SECONDS = 1.0


class KeptAtPlace:
    """Trains trials so that another machine can resume them: their checkpoints are sent while they run.

    Args:
        objective: Trains and scores them.
        place: Where checkpoints are kept.
    """

    def __init__(self, objective: Objective, place: StudyPlace) -> None:
        self._objective = objective
        self._place = place

    def evaluate(self, step: int) -> Evaluation:
        """Scores the base model."""
        return self._objective.evaluate(step)  # type: ignore[attr-defined, no-any-return]

    def __call__(self, config: TrialConfig, monitor: Monitor) -> TrialOutcome:
        """Trains one configuration from the newest checkpoint that any machine left.

        Raises:
            BundleError: The place does not answer, or refuses, at the start or the end of a trial.
        """
        self._place.fetch(monitor.folder)
        sender = Sender(self._place.store(monitor.folder), monitor.folder)
        try:
            with repeating(sender.try_to_send, _LOOK_SECONDS):
                outcome = self._objective(config, monitor)
        except TrialInterruptedError:
            sender.try_to_send()
            raise
        sender.send()
        return outcome


class LightningTrialBackend:
    """Starts each worker as a job of its own.

    A worker that loses its machine is ``gone`` and not started again here: whoever asked for it knows what it had.

    Args:
        folder: The study's folder on this machine.
        settings: The study; its ``place`` is all that the machines share beside the database.
    """

    def __init__(self, folder: Path, settings: StudySettings) -> None:
        self._folder, self._url = folder, str(settings.place)
        self._place = StudyPlace(self._url, settings.name)
        # Somebody else's study of this name, at another place, keeps its jobs when this one stops its own.
        place = hashlib.sha256(self._url.encode()).hexdigest()[:8]
        self._jobs = CommandJobs(f"study-{settings.name}-{place}", self._url)
        self._version: str | None = None

    def check(self, project: Path, env: str | None) -> None:
        """Checks what can be checked before data are prepared; rents nothing.

        Args:
            project: The project's folder.
            env: The environment of the settings.

        Raises:
            ComputeError: The settings or the budget do not suffice, or the machines do not reach the place.
            RemoteError: The place does not answer, or refuses.
        """
        self._jobs.check(project, env)
        self._place.check()

    def start(self, worker: int, command: Sequence[str], env: Mapping[str, str]) -> str:
        """Starts a worker; one that runs already is left alone. The first one waits for the material to be sent.

        Raises:
            ComputeError: The settings, the budget or the storage do not allow it; nothing was started.
            BundleError: The place does not answer, or refuses; nothing was started.
        """
        if self._version is None:
            self._jobs.prepare()
            self._version = self._place.put_material(self._folder)
        ours = ["python", "-m", _MODULE, self._url, self._version, *command[command.index("--worker") :]]
        return self._jobs.start(f"worker {worker}", ours, env)

    def poll(self, ids: Sequence[str]) -> Mapping[str, WorkerState]:
        """Returns where each worker stands, from what was seen last; asks the platform nothing."""
        return {each: self._jobs.state(each) for each in ids}

    def stop(self, ids: Sequence[str]) -> None:
        """Stops workers, and with the last one everything that runs for this study."""
        self._jobs.stop(ids)


def main(arguments: list[str] | None = None) -> int:
    """Runs a worker on what is at a place; returns its exit code."""
    set_up_stores(Path("conf"), None)
    disk = cache_folder() / "studies"
    disk.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="worker-", dir=disk, ignore_cleanup_errors=True) as work:

        def open_place(url: str, version: str) -> OpenStudy:
            material = StudyPlace(url, "").get_material(version)
            plan, factory, options = read_plan(material)
            objective: Objective = pkgutil.resolve_name(factory)(material, **options)
            place = StudyPlace(url, plan.settings.name)
            return replace(plan, folder=Path(work)), KeptAtPlace(objective, place), place.discard

        return run_worker(_MODULE, ["place", "version"], open_place, arguments)


if __name__ == "__main__":
    sys.exit(main())
