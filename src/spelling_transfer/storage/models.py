"""Model folders in the catalog: nodes pass a handle to a checked folder, never the model itself."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset
from kedro.io.core import Version, get_protocol_and_path
from kedro_datasets._typing import JSONPreview

from spelling_transfer.models.folder import ModelFolder, replace_folder
from spelling_transfer.storage.whole import DatasetFileError, DatasetWriteError, cannot_write, flush_to_disk


class ModelFolderDataset(AbstractVersionedDataset[ModelFolder, ModelFolder]):
    """A folder with a model or an adapter, on a local disk.

    Loading checks every file against the folder's manifest. Saving copies the folder of the given handle beside the
    target and then moves it into place, so the target is the old folder or the new one, whole.
    """

    def __init__(
        self,
        *,
        filepath: str,
        check: bool = True,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Points at a folder.

        Args:
            filepath: The folder; relative paths start at the project's root.
            check: Whether loading checks the folder. Without it the handle may lead nowhere, for nodes that use the
                model only under some settings and check it then.
            version: Set by Kedro where the catalog says ``versioned: true``.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        protocol, path = get_protocol_and_path(filepath, version)
        if protocol != "file":
            raise DatasetFileError(
                f"filepath: {filepath} is not on a local disk, where a model folder has to be for models to open it."
            )
        self.metadata = metadata
        self._check = check
        super().__init__(filepath=PurePosixPath(path), version=version)

    def load(self) -> ModelFolder:
        """Returns a handle to the folder after checking its files.

        Raises:
            ModelFolderError: The folder is missing, incomplete or altered.
        """
        path = Path(self._get_load_path())
        return ModelFolder.open(path) if self._check else ModelFolder(path)

    def save(self, data: ModelFolder) -> None:
        """Copies the handle's folder to the dataset's place.

        Raises:
            DatasetWriteError: The folder cannot be copied; whatever was there before is untouched.
        """
        target = Path(self._get_save_path())
        if data.path.resolve() == target.resolve():
            return
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
            try:
                shutil.copytree(data.path, work, dirs_exist_ok=True)
                for file in work.rglob("*"):
                    if file.is_file():
                        flush_to_disk(file)
                ModelFolder.open(work)
                replace_folder(work, target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        except (OSError, shutil.Error) as error:
            raise DatasetWriteError(cannot_write(str(target), error)) from error

    def preview(self) -> JSONPreview:
        """Returns the folder's files and their sizes in bytes, for Kedro-Viz."""
        folder = Path(self._get_load_path())
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return JSONPreview(json.dumps({str(file.relative_to(folder)): file.stat().st_size for file in files}))

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}
