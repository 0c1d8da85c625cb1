"""A folder on an object store that readers see whole: content first, under a name of its own, then a pointer to it.

``TARGET/manifest.json`` names the content, ``TARGET/CONTENT/`` holds the files with the folder's own manifest. An
object store cannot rename, so a folder that is written in place would for a while be half old and half new.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec

from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError, write_manifest

_FORMAT = 1


def cache_folder() -> Path:
    """Returns where copies of remote content are kept: ``SPELLING_TRANSFER_CACHE``, else below the user's cache."""
    if own := os.environ.get("SPELLING_TRANSFER_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spelling-transfer"


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
        if (folder.path / MANIFEST).is_file():
            manifest = folder.path / MANIFEST
        else:  # a download from the hub: its files are put on record on the way
            work = Path(place) / "folder"
            shutil.copytree(folder.path, work, symlinks=False)
            write_manifest(work, {})
            folder, manifest = ModelFolder(work), work / MANIFEST
        content = ModelFolder(folder.path).sha256
        before = _pointer(filesystem, target)
        if before.get("content") != content:
            for name in sorted(folder.manifest()["files"]):
                filesystem.put_file(str(folder.path / name), f"{target}/{content}/{name}")
            filesystem.put_file(str(manifest), f"{target}/{content}/{MANIFEST}")
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
        content = _checked_name(source, pointer["content"])
        return _fetch(filesystem, f"{source}/{content}", content)
    # Somebody copied a local folder there as it is.
    return _fetch(filesystem, source, filesystem.checksum(f"{source}/{MANIFEST}"))


def list_folder(filesystem: fsspec.AbstractFileSystem, source: str) -> dict[str, int]:
    """Returns the files of a remote folder and their sizes in bytes, without reading them."""
    pointer = _pointer(filesystem, source)
    root = f"{source}/{pointer['content']}" if "content" in pointer else source
    found = filesystem.find(root, detail=True)
    prefix = filesystem._strip_protocol(root).rstrip("/") + "/"
    return {path.removeprefix(prefix): int(info["size"]) for path, info in sorted(found.items())}


def _fetch(filesystem: fsspec.AbstractFileSystem, root: str, key: Any) -> ModelFolder:
    place = cache_folder() / "folders" / f"{key}"
    if place.is_dir():
        try:
            return ModelFolder.open(place)
        except ModelFolderError:  # the copy was damaged here; the original decides
            shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".partial", dir=place.parent))
    try:
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
        work.chmod(0o755)
        try:
            work.replace(place)
        except OSError:  # another process was faster; its copy is as good if it can be opened
            return ModelFolder.open(place)
        return ModelFolder(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _pointer(filesystem: fsspec.AbstractFileSystem, target: str) -> dict[str, Any]:
    try:
        pointer = json.loads(filesystem.cat_file(f"{target}/{MANIFEST}"))
    except (FileNotFoundError, ValueError):
        return {}
    return pointer if isinstance(pointer, dict) else {}


def _remove_older(filesystem: fsspec.AbstractFileSystem, target: str, kept: set[Any]) -> None:
    # The one before the last stays for those who are still reading it.
    for folder in filesystem.ls(target, detail=False):
        name = folder.rstrip("/").rsplit("/", 1)[-1]
        if len(name) == 64 and name not in kept:
            filesystem.rm(folder, recursive=True)


def _checked_name(source: str, content: Any) -> str:
    if not isinstance(content, str) or len(content) != 64 or set(content) - set("0123456789abcdef"):
        raise ModelFolderError(f"{source}/{MANIFEST}: not a pointer to the content of a folder.")
    return content
