"""Where data come from: who saved a dataset, when, in which run, with which code, and what it was made from.

Each run leaves one small file, ``.history/RUN.json`` below the storage root, at its end or when it fails. It lies among
the data, so it travels with them.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spelling_transfer import __version__
from spelling_transfer.files import whole_file
from spelling_transfer.storage.remote_errors import explain_remote
from spelling_transfer.storage.whole import DatasetFileError, cannot_read

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)

FOLDER = ".history"
_FORMAT = 1
_HASHED_BYTES = 256 << 20
"""A larger file is told by its size and time: reading it again would take as long as making many a dataset."""


class HistoryRecorder:
    """Notes what a run saves.

    Args:
        run_id: Kedro's id of the run.
        env: The Kedro environment.
        catalog: The catalog of the run.
    """

    def __init__(self, run_id: str, env: str | None, catalog: DataCatalog) -> None:
        self._run_id, self._env, self._catalog = run_id, env, catalog
        self._content: dict[str, dict[str, Any] | None] = {}
        self.entries: list[dict[str, Any]] = []

    def note(self, dataset: str, node: Node) -> None:
        """Notes that a node has saved a dataset; what cannot be found out is left out, and never stops a run."""
        self._content[dataset] = content = self._look(dataset)
        if content is None:
            return
        inputs = {name: self._of_input(name) for name in sorted(node.inputs)}
        self.entries.append(
            {
                "dataset": dataset,
                "saved_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "by": _who(),
                "run_id": self._run_id,
                "env": self._env,
                "node": node.name,
                "version": __version__,
                "content": content,
                "inputs": {name: facts for name, facts in inputs.items() if facts is not None},
            }
        )

    def write(self, storage_root: str, project: Path) -> None:
        """Writes what was noted below the storage root."""
        if not self.entries:
            return
        filesystem, root = _open(storage_root, project)
        name = "".join(character if character.isalnum() or character in ".-_" else "-" for character in self._run_id)
        data = json.dumps({"format": _FORMAT, "entries": self.entries}, indent=1).encode()
        path = f"{root}/{FOLDER}/{name}.json"
        try:
            if _is_local(filesystem):
                with whole_file(Path(path)) as partial:
                    partial.write_bytes(data)
            else:
                filesystem.pipe_file(path, data)
        except Exception as error:  # noqa: BLE001 - the data are saved; a missing line of history is no reason to fail
            logger.warning("The history of this run could not be written to %s: %s", path, error)

    def _of_input(self, name: str) -> dict[str, Any] | None:
        if name not in self._content:
            self._content[name] = self._of_parameter(name) if name.startswith("param") else self._look(name)
        return self._content[name]

    def _of_parameter(self, name: str) -> dict[str, Any] | None:
        try:
            value = self._catalog.load(name)
            text = json.dumps(value, sort_keys=True, default=str)
        except Exception:  # noqa: BLE001 - see note
            return None
        return {"sha256": hashlib.sha256(text.encode()).hexdigest()}

    def _look(self, name: str) -> dict[str, Any] | None:
        try:
            return describe_content(self._catalog.get(name))
        except Exception as error:  # noqa: BLE001 - see note
            logger.warning("What %s holds could not be noted in the history: %s", name, error)
            return None


def describe_content(dataset: Any) -> dict[str, Any] | None:
    """Returns size and hash of what a dataset holds; ``None`` where it is not kept in files.

    The hash is that of the file; of a folder that of its manifest; of an object in a store the store's own tag.
    """
    from kedro.io import AbstractVersionedDataset

    if not isinstance(dataset, AbstractVersionedDataset) or not dataset.exists():
        return None
    import fsspec

    filesystem = getattr(dataset, "_fs", None) or fsspec.filesystem("file")
    path = dataset._get_load_path().as_posix()
    filesystem.invalidate_cache()
    if filesystem.isdir(path):
        manifest = f"{path}/manifest.json"
        if not filesystem.exists(manifest):
            return {"size_bytes": filesystem.du(path)}
        # Of a folder in a store this is the pointer, which names the content by its hash.
        return {"size_bytes": filesystem.du(path), "sha256": hashlib.sha256(filesystem.cat_file(manifest)).hexdigest()}
    info = filesystem.info(path)
    content: dict[str, Any] = {"size_bytes": int(info["size"])}
    if not _is_local(filesystem):
        content["etag"] = str(info.get("ETag", "")).strip('"')
    elif info["size"] <= _HASHED_BYTES:
        with Path(path).open("rb") as stream:
            content["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    else:
        content["modified"] = datetime.fromtimestamp(info["mtime"], tz=UTC).isoformat()
    return content


def read_history(dataset: str, storage_root: str, project: Path) -> list[dict[str, Any]]:
    """Returns the saves of a dataset, the latest first.

    Raises:
        DatasetFileError: The storage cannot be read.
    """
    entries = [
        entry for record in _records(storage_root, project) for entry in record if entry.get("dataset") == dataset
    ]
    return sorted(entries, key=lambda entry: str(entry.get("saved_at")), reverse=True)


def _records(storage_root: str, project: Path) -> Iterator[list[dict[str, Any]]]:
    filesystem, root = _open(storage_root, project)
    folder = f"{root}/{FOLDER}"
    try:
        filesystem.invalidate_cache()
        names = filesystem.ls(folder, detail=False)
    except FileNotFoundError as error:
        if (message := explain_remote(error, storage_root, "read")) is not None:
            raise DatasetFileError(message) from error
        return
    except Exception as error:
        raise DatasetFileError(cannot_read(folder, error)) from error
    for name in names:
        if not name.endswith(".json"):
            continue
        try:
            content = json.loads(filesystem.cat_file(name))
            yield [entry for entry in content["entries"] if isinstance(entry, dict)]
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("%s: not a readable part of the history; left out.", name)


def _open(storage_root: str, project: Path) -> tuple[Any, str]:
    import fsspec

    if "://" not in storage_root:
        storage_root = str(project / storage_root)
    filesystem, path = fsspec.core.url_to_fs(storage_root)
    return filesystem, str(path).rstrip("/")


def _is_local(filesystem: Any) -> bool:
    protocol = filesystem.protocol
    return "file" in ((protocol,) if isinstance(protocol, str) else protocol)


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container without an entry for its user
        return f"unknown@{socket.gethostname()}"
