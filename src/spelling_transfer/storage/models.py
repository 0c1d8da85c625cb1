"""Model folders in the catalog: nodes pass a handle to a checked folder, never the model itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from kedro.io import AbstractVersionedDataset
from kedro.io.core import Version, get_protocol_and_path
from kedro_datasets._typing import JSONPreview

from spelling_transfer.files import flush_to_disk, whole_folder
from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError
from spelling_transfer.storage.remote_errors import check_transport
from spelling_transfer.storage.remote_folder import fetch_folder, list_folder, publish_folder
from spelling_transfer.storage.whole import DatasetFileError, DatasetWriteError, cannot_read, cannot_write


class ModelFolderDataset(AbstractVersionedDataset[ModelFolder, ModelFolder]):
    """A folder with a model or an adapter, on a local disk or an object store.

    Loading checks every file against the folder's manifest. Saving copies the folder of the given handle beside the
    target and then moves it into place, so the target is the old folder or the new one, whole. On an object store,
    where nothing can be moved, the files come first and a pointer to them last; loading gives a local copy of them,
    which is kept (``SPELLING_TRANSFER_CACHE``, or ``~/.cache/spelling-transfer``) under the hash of its content.
    """

    def __init__(
        self,
        *,
        filepath: str,
        check: bool = True,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Points at a folder.

        Args:
            filepath: The folder, local or a URL; relative paths start at the project's root.
            check: Whether loading checks the folder. Without it the handle may lead nowhere, for nodes that use the
                model only under some settings and check it then.
            version: Set by Kedro where the catalog says ``versioned: true``.
            credentials: For a URL, as fsspec takes them.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        self._protocol, path = get_protocol_and_path(filepath, version)
        self._fs = fsspec.filesystem(self._protocol, **(credentials or {}))
        self.metadata = metadata
        self._check = check
        super().__init__(
            filepath=PurePosixPath(path),
            version=version,
            exists_function=self._fs.exists,
            glob_function=self._fs.glob,
        )

    def load(self) -> ModelFolder:
        """Returns a handle to the folder after checking its files.

        Raises:
            ModelFolderError: The folder is missing, incomplete or altered.
            DatasetFileError: The object store cannot be read.
        """
        if self._protocol != "file":
            return self._fetch(self._get_load_path().as_posix())
        path = Path(self._get_load_path())
        return ModelFolder.open(path) if self._check else ModelFolder(path)

    def save(self, data: ModelFolder) -> None:
        """Copies the handle's folder to the dataset's place.

        Raises:
            DatasetWriteError: The folder cannot be copied; whatever was there before is untouched.
        """
        if self._protocol != "file":
            return self._publish(data, self._get_save_path().as_posix())
        target = Path(self._get_save_path())
        if data.path.resolve() == target.resolve():
            return None
        try:
            with whole_folder(target) as work:
                shutil.copytree(data.path, work, dirs_exist_ok=True)
                for file in work.rglob("*"):
                    if file.is_file():
                        flush_to_disk(file)
                ModelFolder.open(work)
        except (OSError, shutil.Error) as error:
            raise DatasetWriteError(cannot_write(str(target), error)) from error
        return None

    def _publish(self, data: ModelFolder, target: str) -> None:
        try:
            check_transport(self._fs)
            publish_folder(ModelFolder.open(data.path), self._fs, target)
        except ModelFolderError:
            raise
        except Exception as error:
            raise DatasetWriteError(cannot_write(f"{self._protocol}://{target}", error)) from error

    def _fetch(self, source: str) -> ModelFolder:
        if not self._check and not self._exists():
            return ModelFolder(Path(source))
        try:
            check_transport(self._fs)
            return fetch_folder(self._fs, source)
        except ModelFolderError:
            raise
        except Exception as error:
            raise DatasetFileError(cannot_read(f"{self._protocol}://{source}", error)) from error

    def preview(self) -> JSONPreview:
        """Returns the folder's files and their sizes in bytes, for Kedro-Viz."""
        if self._protocol != "file":
            return JSONPreview(json.dumps(list_folder(self._fs, self._get_load_path().as_posix())))
        folder = Path(self._get_load_path())
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return JSONPreview(json.dumps({str(file.relative_to(folder)): file.stat().st_size for file in files}))

    def _exists(self) -> bool:
        if self._protocol != "file":
            self._fs.invalidate_cache()
            return bool(self._fs.exists(f"{self._get_load_path().as_posix()}/{MANIFEST}"))
        return Path(self._get_load_path()).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}
