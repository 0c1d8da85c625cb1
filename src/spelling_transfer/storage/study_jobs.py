"""A study whose workers are jobs: material, checkpoints and adapters go through a place that all machines reach.

The place is a bucket or a folder and is kept as bundles are. Below it, ``material`` is a store of what studies read, and
``trials/STUDY/NUMBER`` one of each trial: a version a checkpoint, the newest last.

python -m spelling_transfer.storage.study_jobs PLACE VERSION --worker 0
"""

from __future__ import annotations

import logging
import pkgutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kedro_lightning import CommandJobs
from spelling_transfer.files import whole_folder
from spelling_transfer.storage.access import cache_folder, set_up_stores
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, StoreError, open_store
from spelling_transfer.storage.bundles.stores.base import MissingError
from spelling_transfer.storage.bundles.versions import locked, prune, read_version
from spelling_transfer.storage.errors import BundleError
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.interfaces import Evaluation, Monitor, Objective, TrialOutcome, WorkerState
from spelling_transfer.study.monitor import Repeating, TrialInterruptedError
from spelling_transfer.study.plan import read_plan
from spelling_transfer.study.worker import OpenStudy, run_worker

_LOGGER = logging.getLogger(__name__)

_MODULE = "spelling_transfer.storage.study_jobs"
_OF_ALL = ("launch.json", "material/*")
_OF_A_MACHINE = ("material/weights.safetensors",)
"""Made from the base model by the first worker of a machine."""
_OF_A_TRIAL = ("checkpoints/*", "adapter/*")
_KEPT = 2
_LOOK_SECONDS = 1.0


class StudyPlace:
    """What a study keeps where all its machines reach it.

    Args:
        url: A bucket's ``s3://bucket/prefix``, or a folder.
        study: The study's name.
    """

    def __init__(self, url: str, study: str) -> None:
        self._trials = f"{url.rstrip('/')}/trials/{study}"
        self._material = open_store(f"{url.rstrip('/')}/material")

    def check(self) -> None:
        """Writes and removes a small file.

        Raises:
            RemoteError: The place does not answer, or refuses.
        """
        with locked(self._material, "push", ignore_others=True):
            pass

    def put_material(self, folder: Path) -> int:
        """Sends what the place lacks of a study's material; returns its version.

        Args:
            folder: The study's folder.

        Raises:
            BundleError: The place does not answer, or refuses.
        """
        _LOGGER.info("Bringing the material of the study to %s, as far as it is not there yet.", self._material.url)
        return push_bundle(folder, self._material, include=_OF_ALL, exclude=_OF_A_MACHINE, ignore_locks=True).number

    def get_material(self, version: int) -> Path:
        """Returns a folder with the material, which is fetched by the first worker of this machine.

        Raises:
            BundleError: The place does not answer, or refuses.
        """
        folder = cache_folder() / "studies" / read_version(self._material, version).manifest_sha256
        if not folder.is_dir():
            try:
                with whole_folder(folder, replace=False) as work:
                    pull_bundle(self._material, work, number=version)
            except FileExistsError:
                _LOGGER.debug("Another worker of this machine was faster.")
        return folder

    def fetch(self, trial: Path) -> None:
        """Brings a trial's folder to the newest version that is whole; one that is damaged is skipped with a warning.

        Raises:
            BundleError: The place does not answer, or refuses.
        """
        store = self.store(trial)
        for number in reversed(store.list_manifests()):
            try:
                pull_bundle(store, trial, number=number, overwrite=True)
                return
            except (BundleError, FileNotFoundError) as error:
                if isinstance(error, StoreError) and not isinstance(error, MissingError):
                    raise
                _LOGGER.warning("%s, version %d: %s Resuming from the one before.", store.url, number, error)

    def discard(self, trial: Path) -> None:
        """Leaves of a trial that has ended its adapter alone."""
        store = self.store(trial)
        try:
            if (trial / "adapter").is_dir():
                push_bundle(trial, store, include=_OF_A_TRIAL, ignore_locks=True)
                prune(store, 1, ignore_locks=True)
            else:
                for number in store.list_manifests():
                    store.delete_manifest(number)
                store.delete_content(store.list_content())
        except BundleError as error:  # the trial is recorded; nothing but room is lost
            _LOGGER.warning("Checkpoints of a trial that has ended stay there: %s", error)

    def store(self, trial: Path) -> BundleStore:
        """Returns the store of a trial, by its folder."""
        return open_store(f"{self._trials}/{trial.name}")


class KeptAtPlace:
    """Trains trials so that another machine can go on with them: their checkpoints are sent while they run.

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
        sender = _Sender(self._place.store(monitor.folder), monitor.folder)
        try:
            with Repeating(sender.try_to_send, _LOOK_SECONDS):
                outcome = self._objective(config, monitor)
        except TrialInterruptedError:
            sender.try_to_send()
            raise
        sender.send()
        return outcome


class _Sender:
    """Sends a trial's checkpoints and adapter, whole, whenever there is a new one."""

    def __init__(self, store: BundleStore, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._sent = self._files()

    def send(self) -> None:
        files = self._files()
        if files != self._sent:
            push_bundle(self._folder, self._store, include=_OF_A_TRIAL, ignore_locks=True)
            self._sent = files
            prune(self._store, _KEPT, ignore_locks=True)

    def try_to_send(self) -> None:
        try:
            self.send()
        except StoreError as error:
            _LOGGER.warning("A checkpoint could not be sent, which is tried again: %s", error)
        except (BundleError, OSError):
            _LOGGER.debug("A file changed while it was sent; the next one follows.")

    def _files(self) -> set[tuple[str, int]]:
        found = [file for pattern in _OF_A_TRIAL for file in self._folder.glob(pattern) if file.name[0] != "."]
        return {(str(file), file.stat().st_mtime_ns) for file in found}


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
        self._jobs = CommandJobs(f"study-{settings.name}", self._url)
        self._version: int | None = None

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
        ours = ["python", "-m", _MODULE, self._url, str(self._version), *command[command.index("--worker") :]]
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
            material = StudyPlace(url, "").get_material(int(version))
            plan, factory, options = read_plan(material)
            objective: Objective = pkgutil.resolve_name(factory)(material, **options)
            place = StudyPlace(url, plan.settings.name)
            return OpenStudy(replace(plan, folder=Path(work)), KeptAtPlace(objective, place), place.discard)

        return run_worker(_MODULE, ["place", "version"], open_place, arguments)


if __name__ == "__main__":
    sys.exit(main())
