"""Model folders in the catalog: nodes pass a handle to a checked folder, never the model itself.

On an object store a folder is its content, under a name of its own, and a pointer to it that is written last:
``TARGET/manifest.json`` names the content, ``TARGET/CONTENT/`` holds the files with the folder's own manifest. An
object store cannot rename, so a folder that is written in place would for a while be half old and half new.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from kedro.io import AbstractVersionedDataset
from kedro.io.core import Version, get_protocol_and_path
from kedro_datasets._typing import JSONPreview

from spelling_transfer.files import copy_folder, whole_folder
from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError, write_manifest
from spelling_transfer.storage.access import cache_folder, check_transport
from spelling_transfer.storage.errors import DatasetFileError, DatasetWriteError, cannot_read, cannot_write

_FORMAT = 1
_UPLOAD_SECONDS = 86400.0
"""A folder that got a file since then may be what another run is uploading."""


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
        source = self._get_load_path().as_posix()
        if self._protocol == "file":
            return ModelFolder.open(Path(source)) if self._check else ModelFolder(Path(source))
        if not self._check and not self._exists():
            return ModelFolder(Path(source))
        try:
            check_transport(self._fs)
            return fetch_folder(self._fs, source)
        except ModelFolderError:
            raise
        except Exception as error:
            raise DatasetFileError(cannot_read(f"{self._protocol}://{source}", error)) from error

    def save(self, data: ModelFolder) -> None:
        """Copies the handle's folder to the dataset's place.

        Raises:
            DatasetWriteError: The folder cannot be copied; whatever was there before is untouched.
        """
        target = self._get_save_path().as_posix()
        if self._protocol == "file":
            _copy_folder(data, Path(target))
            return
        try:
            check_transport(self._fs)
            publish_folder(ModelFolder.open(data.path), self._fs, target)
        except ModelFolderError:
            raise
        except Exception as error:
            raise DatasetWriteError(cannot_write(f"{self._protocol}://{target}", error)) from error

    def describe_content(self, _: int) -> dict[str, Any]:
        """Returns the number of files and their sizes in bytes; none is read."""
        sizes = self._sizes()
        return {"files": len(sizes), "schema": sizes}

    def preview(self) -> JSONPreview:
        """Returns the folder's files and their sizes in bytes, for Kedro-Viz."""
        return JSONPreview(json.dumps(self._sizes()))

    def _sizes(self) -> dict[str, int]:
        root = self._get_load_path().as_posix()
        if self._protocol != "file" and "content" in (pointer := _pointer(self._fs, root)):
            root = f"{root}/{pointer['content']}"
        prefix = self._fs._strip_protocol(root).rstrip("/") + "/"
        found = self._fs.find(root, detail=True)
        return {path.removeprefix(prefix): int(info["size"]) for path, info in sorted(found.items())}

    def _exists(self) -> bool:
        path = self._get_load_path().as_posix()
        if self._protocol == "file":
            return Path(path).is_dir()
        self._fs.invalidate_cache()
        return bool(self._fs.exists(f"{path}/{MANIFEST}"))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}


def _copy_folder(source: ModelFolder, target: Path) -> None:
    if source.path.resolve() == target.resolve():
        return
    try:
        with whole_folder(target) as work:
            copy_folder(source.path, work)
            ModelFolder.open(work)
    except OSError as error:
        raise DatasetWriteError(cannot_write(str(target), error)) from error


def publish_folder(folder: ModelFolder, filesystem: fsspec.AbstractFileSystem, target: str) -> None:
    """Uploads a folder and then points to it; until then readers see what was there before.

    Args:
        folder: A folder whose files are as its manifest says.
        filesystem: Where ``target`` is.
        target: Path of the remote folder.

    Raises:
        OSError: The store refuses; what was there before is untouched.
    """
    with tempfile.TemporaryDirectory() as place:
        if not (folder.path / MANIFEST).is_file():  # a download from the hub: it gets a manifest on the way
            work = Path(place) / "folder"
            copy_folder(folder.path, work)
            write_manifest(work, {})
            folder = ModelFolder(work)
        content, before = folder.sha256, _pointer(filesystem, target)
        if before.get("content") != content:
            for name in [*sorted(folder.manifest()["files"]), MANIFEST]:
                filesystem.put_file(str(folder.path / name), f"{target}/{content}/{name}")
            pointer = {"format": _FORMAT, "content": content}
            filesystem.pipe_file(f"{target}/{MANIFEST}", json.dumps(pointer, sort_keys=True).encode())
        filesystem.invalidate_cache()
    with suppress(Exception):  # the new folder is there; who may not remove the old one still may write
        _remove_older(filesystem, target, {content, before.get("content")})


def fetch_folder(filesystem: fsspec.AbstractFileSystem, source: str) -> ModelFolder:
    """Returns a checked local copy of a remote folder, kept under the hash of its content.

    Raises:
        FileNotFoundError: There is no such folder.
        ModelFolderError: A file is missing there or was altered.
    """
    filesystem.invalidate_cache(source)
    pointer = json.loads(filesystem.cat_file(f"{source}/{MANIFEST}"))
    if "content" in pointer:
        if pointer.get("format") != _FORMAT:
            raise ModelFolderError(
                f"{source}/{MANIFEST}: format {pointer.get('format')!r} is newer than {_FORMAT}, which this version "
                "reads. Update spelling-transfer."
            )
        content = pointer["content"]
        if not isinstance(content, str) or len(content) != 64 or set(content) - set("0123456789abcdef"):
            raise ModelFolderError(f"{source}/{MANIFEST}: not a pointer to the content of a folder.")
        return _fetch(filesystem, f"{source}/{content}", content)
    # Somebody copied a local folder there as it is.
    return _fetch(filesystem, source, filesystem.checksum(f"{source}/{MANIFEST}"))


def _fetch(filesystem: fsspec.AbstractFileSystem, root: str, key: Any) -> ModelFolder:
    place = cache_folder() / "folders" / f"{key}"
    if place.is_dir():
        try:
            return ModelFolder.open(place)
        except ModelFolderError:  # the copy was damaged here; the original decides
            shutil.rmtree(place, ignore_errors=True)
    try:
        with whole_folder(place, replace=False) as work:
            _download(filesystem, root, work)
            if isinstance(key, str) and ModelFolder(work).sha256 != key:  # another store's folder of that name is kept
                raise ModelFolderError(f"{root}/{MANIFEST}: is not the manifest that the pointer names.")
    except FileExistsError:  # another process was faster; its copy is as good if it can be opened
        return ModelFolder.open(place)
    return ModelFolder(place)


def _download(filesystem: fsspec.AbstractFileSystem, root: str, work: Path) -> None:
    filesystem.get_file(f"{root}/{MANIFEST}", str(work / MANIFEST))
    for name in ModelFolder(work).manifest()["files"]:
        file = work / name
        if not file.resolve().is_relative_to(work.resolve()):
            raise ModelFolderError(f"{root}/{MANIFEST}: {name!r} leads out of the folder.")
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            filesystem.get_file(f"{root}/{name}", str(file))
        except FileNotFoundError as error:
            raise ModelFolderError(f"{root}/{name}: listed in {MANIFEST} but missing.") from error
    ModelFolder.open(work)


def _pointer(filesystem: fsspec.AbstractFileSystem, target: str) -> dict[str, Any]:
    try:
        pointer = json.loads(filesystem.cat_file(f"{target}/{MANIFEST}"))
    except (FileNotFoundError, ValueError):
        return {}
    return pointer if isinstance(pointer, dict) else {}


def _remove_older(filesystem: fsspec.AbstractFileSystem, target: str, kept: set[Any]) -> None:
    # The one before the last stays for those who are still reading it, and what another run may be uploading.
    for folder in filesystem.ls(target, detail=False):
        name = folder.rstrip("/").rsplit("/", 1)[-1]
        if len(name) == 64 and name not in kept:
            newest = max((filesystem.modified(file).timestamp() for file in filesystem.find(folder)), default=0.0)
            if time.time() - newest > _UPLOAD_SECONDS:
                filesystem.rm(folder, recursive=True)
