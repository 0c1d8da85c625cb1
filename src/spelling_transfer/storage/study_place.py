"""A place that all machines of a study reach, a bucket or a folder: material, checkpoints and adapters, as bundles are.

Below it, ``material`` is a store of what studies read, and ``trials/STUDY/NUMBER`` one of each trial: a version a
checkpoint, the newest last.
"""

from __future__ import annotations

import logging
from pathlib import Path

from spelling_transfer.files import whole_folder
from spelling_transfer.storage.access import cache_folder
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, StoreError, open_store
from spelling_transfer.storage.bundles.stores.base import MissingError
from spelling_transfer.storage.bundles.versions import locked, prune
from spelling_transfer.storage.errors import BundleError

_LOGGER = logging.getLogger(__name__)

_OF_ALL = ("launch.json", "material/*")
_OF_A_MACHINE = ("material/weights.safetensors",)
"""Made from the base model by the first worker of a machine."""
_OF_A_TRIAL = ("checkpoints/*", "adapter/*")
_KEPT = 2


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

    def put_material(self, folder: Path) -> str:
        """Sends what the place lacks of a study's material; returns its version with the hash of its manifest.

        Args:
            folder: The study's folder.

        Raises:
            BundleError: The place does not answer, or refuses.
        """
        _LOGGER.info("Sending missing material of the study to %s.", self._material.url)
        sent = push_bundle(folder, self._material, include=_OF_ALL, exclude=_OF_A_MACHINE, ignore_locks=True)
        return f"{sent.number}:{sent.manifest_sha256}"

    def get_material(self, version: str) -> Path:
        """Returns a folder with the material, which is fetched by the first worker of this machine.

        Raises:
            BundleError: It is not what was sent. The material names the function that a worker calls, so whoever may
                write to the place could have any code run.
        """
        number, _, sha256 = version.partition(":")
        folder = cache_folder() / "studies" / sha256
        if not folder.is_dir():
            try:
                with whole_folder(folder, replace=False) as work:
                    if pull_bundle(self._material, work, number=int(number)).manifest_sha256 != sha256:
                        raise BundleError(
                            f"{self._material.url}: version {number} is not what this study sent. Start it again, and "
                            "see who else may write there."
                        )
            except FileExistsError:
                _LOGGER.debug("Another worker of this machine was faster.")
        return folder

    def fetch(self, trial: Path) -> None:
        """Brings a trial's folder to the newest version that is whole; a damaged one is skipped with a warning."""
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


class Sender:
    """Sends a trial's checkpoints and adapter, whole, whenever there is a new one.

    Args:
        store: The trial's store.
        folder: The trial's folder; what it holds already is not sent.
    """

    def __init__(self, store: BundleStore, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._sent = self._files()

    def send(self) -> None:
        """Sends what is new, if anything is.

        Raises:
            BundleError: The place does not answer, or refuses; a file changed meanwhile.
        """
        files = self._files()
        if files != self._sent:
            push_bundle(self._folder, self._store, include=_OF_A_TRIAL, ignore_locks=True)
            self._sent = files
            prune(self._store, _KEPT, ignore_locks=True)

    def try_to_send(self) -> None:
        """Sends what is new; what fails is left for the next time."""
        try:
            self.send()
        except StoreError as error:
            _LOGGER.warning("A checkpoint could not be sent, which is tried again: %s", error)
        except (BundleError, OSError):
            _LOGGER.debug("A file changed while it was sent; the next one follows.")

    def _files(self) -> set[tuple[str, int]]:
        found = [file for pattern in _OF_A_TRIAL for file in self._folder.glob(pattern) if file.name[0] != "."]
        return {(str(file), file.stat().st_mtime_ns) for file in found}
