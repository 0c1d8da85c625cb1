"""A model folder: safetensors, configuration and a manifest of checksums, written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import FINDER, sha256_of, whole_folder

MANIFEST = "manifest.json"
_ENDS = 1 << 20
"""Bytes read at either end of a file, where no manifest says what is in it."""

_LONGEST_HEADER = 100_000_000
"""Bytes; the library of safetensors reads none that is longer."""

_FETCH_AGAIN = "The download is not complete: run again with a network, or restore the folder."


class ModelFolderError(SpellingTransferError):
    """A model folder is missing, incomplete or altered."""


@contextmanager
def permissions_explained() -> Iterator[None]:
    """Turns the system's refusal to read a file of a model folder into an error that says who can help.

    Raises:
        ModelFolderError: This user may not read a file.
    """
    try:
        yield
    except PermissionError as error:
        raise ModelFolderError(
            f"{error.filename}: you may not read it. Its owner can let the group read it: chmod -R g+rX on its folder."
        ) from error


@dataclass(frozen=True)
class ModelFolder:
    """A handle to a folder that holds a model or an adapter; what passes between nodes instead of the model.

    Attributes:
        owner: Keeps a temporary folder alive as long as its handle.
    """

    path: Path
    owner: object = field(default=None, repr=False, compare=False)

    @classmethod
    @permissions_explained()
    def open(cls, path: Path) -> ModelFolder:
        """Returns the handle after every file has been checked against the manifest.

        A folder without a manifest (a download from the hub) is accepted when it holds ``config.json`` and every
        file of weights that its index names, each whole.

        Raises:
            ModelFolderError: The folder is not there, lacks a file of its manifest, or a file was altered or may not be
                read.
        """
        path = Path(path)
        if not path.is_dir():
            raise ModelFolderError(
                f"{path}: no such model folder. Check 'base_model' in conf/base/catalog/shared.yml; the embedded model "
                "comes back with 'git checkout -- data/01_raw/models' or 'kedro pretrain'."
            )
        folder = cls(path)
        if not (path / MANIFEST).is_file():
            if not (path / "config.json").is_file():
                raise ModelFolderError(f"{path}: holds neither {MANIFEST} nor config.json; it is not a model folder.")
            _check_weights(path)
            return folder
        for name, expected in folder.manifest()["files"].items():
            file = path / name
            if not file.is_file():
                raise ModelFolderError(f"{file}: listed in {MANIFEST} but missing. Restore the folder and run again.")
            if (actual := sha256_of(file)) != expected:
                raise ModelFolderError(
                    f"{file}: sha256 is {actual}, the manifest says {expected}. The file was altered or cut short; "
                    "restore the folder and run again."
                )
        return folder

    def manifest(self) -> dict[str, Any]:
        """Returns the manifest: ``files`` (name to sha256) and what was noted when the folder was written.

        Raises:
            ModelFolderError: The manifest is not readable JSON.
        """
        file = self.path / MANIFEST
        try:
            with permissions_explained():
                manifest = json.loads(file.read_text())
            if not isinstance(manifest["files"], dict):
                raise TypeError("'files' is not a mapping")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelFolderError(f"{file}: not a readable manifest ({error!r}).") from error
        return dict(manifest)

    @property
    @permissions_explained()
    def sha256(self) -> str:
        """Identity of the folder: the hash of its manifest.

        Where there is none, of the names and sizes of its files with the first and the last mebibyte of each: enough to
        tell trained models apart, and read in no time.
        """
        if (self.path / MANIFEST).is_file():
            return sha256_of(self.path / MANIFEST)
        identity = hashlib.sha256()
        for file in sorted(self.path.rglob("*")):
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(self.path).parts):
                size = file.stat().st_size
                identity.update(f"{file.relative_to(self.path).as_posix()} {size}\n".encode())
                with file.open("rb") as stream:
                    identity.update(stream.read(_ENDS))
                    stream.seek(max(0, size - _ENDS))
                    identity.update(stream.read(_ENDS))
        return identity.hexdigest()


@contextmanager
def new_folder(target: Path, notes: dict[str, Any]) -> Iterator[Path]:
    """Yields a temporary folder to write into; it becomes ``target`` when the block ends without an error.

    Args:
        target: Where the folder is to stand; what stood there before is replaced.
        notes: What the manifest says beside the checksums.

    Raises:
        OSError: Its disk is full, whatever library wrote to it.
    """
    with whole_folder(target) as work:
        try:
            yield work
        except Exception as error:
            # safetensors, in Rust, has one error for all that can go wrong.
            if f"(os error {errno.ENOSPC})" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from error
        write_manifest(work, notes)


def check_replaceable(target: Path) -> None:
    """Checks that no data of somebody is lost where a model is written.

    Raises:
        ModelFolderError: Something that is no model of ours stands there.
    """
    is_free = not target.exists() or (target.is_dir() and all(file.name == FINDER for file in target.iterdir()))
    if not is_free and not (target / MANIFEST).is_file():
        raise ModelFolderError(
            f"{target}: holds something else than a model, which is not replaced. Name another folder."
        )


def write_manifest(folder: Path, notes: dict[str, Any]) -> None:
    """Writes the checksums of all files in ``folder`` beside them."""
    files = {
        str(file.relative_to(folder)): sha256_of(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps({**notes, "files": files}, indent=2, sort_keys=True) + "\n")


def _check_weights(folder: Path) -> None:
    """Compares the files of weights with their index, and the size of each with what its header says."""
    # Where a Mac's archive or disk was, "._NAME" holds what its own file system keeps beside NAME.
    missing, named = [], {file.name for file in folder.glob("[!.]*.safetensors")}
    for index in folder.glob("[!.]*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text())["weight_map"].values())
            if not all(isinstance(name, str) for name in shards):
                raise TypeError("a file's name is no text")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelFolderError(f"{index}: not a readable index of weights. {_FETCH_AGAIN}") from error
        missing += [name for name in sorted(shards) if not (folder / name).is_file()]
        named |= shards
    if missing:
        raise ModelFolderError(
            f"{folder}: {len(missing)} of {len(named)} files of weights are missing: {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}. {_FETCH_AGAIN}"
        )
    for name in sorted(named):
        size = (folder / name).stat().st_size
        if size != (expected := _safetensors_bytes(folder / name)):
            found = f"{size} bytes of {expected}" if expected else "not the header of a safetensors file"
            raise ModelFolderError(f"{folder / name}: holds {found}. {_FETCH_AGAIN}")


def _safetensors_bytes(file: Path) -> int | None:
    """Returns the size that a file of weights has by its own header; ``None`` where it has none.

    The format: eight bytes with the header's length, the header as JSON, the tensors
    (https://huggingface.co/docs/safetensors).
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(file.stat().st_size, _LONGEST_HEADER):
            return None
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
            return None
