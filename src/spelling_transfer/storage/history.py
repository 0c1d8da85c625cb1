"""Where data come from: who saved a dataset, when, in which run, with which code, and what it was made from.

Each run, and each part of it on another machine, leaves one small file, ``.history/RUN-….json`` below the storage root,
at its end or when it fails. It lies among the data, so it travels with them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Collection, Generator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
from kedro.config import MissingConfigException
from kedro.framework.hooks import hook_impl
from kedro.io.core import is_parameter

from spelling_transfer import __version__
from spelling_transfer.files import FINDER, sha256_of
from spelling_transfer.storage import runs
from spelling_transfer.storage.access import protocols, write_whole
from spelling_transfer.storage.errors import DatasetFileError, cannot_read, explain_remote
from spelling_transfer.storage.table_parts import TablePartsDataset

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)

FOLDER = ".history"
_FORMAT = 1
_HASHED_BYTES = 256 << 20
"""A larger file is known by its size and time: reading it again would take as long as making many a dataset."""


class StorageHook:
    """The Kedro hook that records where data come from, and moves the pointer to the latest run, last of all."""

    def __init__(self) -> None:
        self._context: KedroContext | None = None
        self._history: HistoryRecorder | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keeps the way to the configuration."""
        self._context = context

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: DataCatalog) -> None:
        """Begins the history of a run, and says the name of one that nobody named."""
        if self._context is not None and storage_root_of(self._context):
            TablePartsDataset.run_id = str(run_params.get("run_id", "run"))
            self._history = HistoryRecorder(TablePartsDataset.run_id, run_params.get("env"), catalog)
            if (named := runs.how_to_go_on(storage_root_of(self._context))) is not None:
                # At the start, as a run that is killed says nothing at its end.
                logger.info("A new run begins. If it stops before its end, set %s to resume it.", named)

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str, node: Node) -> None:
        """Notes what an input holds when it is read: another run may replace it while the node works."""
        if self._history is not None:
            self._history.note_input(dataset_name, node)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Notes the inputs of a node that reads them elsewhere, as they are when its job begins."""
        if self._history is not None:
            self._history.note_inputs(node)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Records who saved what, and from what."""
        if self._history is not None:
            self._history.record(dataset_name, node)

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self) -> None:
        """Writes the history of a run that stopped, and says how the next finds what it saved before."""
        self._write_history()
        if self._context is not None and (named := runs.how_to_go_on(storage_root_of(self._context))) is not None:
            logger.warning("Set %s to resume this run with what it has saved.", named)

    # Around the others: what they say of the run rests on the history, and the pointer must not lead to a run whose
    # summary is not written.
    @hook_impl(wrapper=True)
    def after_pipeline_run(
        self, run_params: dict[str, Any], run_result: dict[str, Any], pipeline: Pipeline
    ) -> Generator[None, Any, Any]:
        """Writes the history, and after all other hooks moves ``latest`` to a run that ended well.

        A run of chosen nodes is a part of another and moves nothing.

        Raises:
            RunNameError: The pointer cannot be written.
        """
        if self._history is not None and not self._history.heard_of_nodes:
            ran = run_result if run_params.get("only_missing_outputs") else pipeline.all_outputs()
            self._history.record_all(pipeline, set(ran))
        self._write_history()
        found = yield
        root = "" if self._context is None else storage_root_of(self._context)
        if runs.is_run_folder(root) and not runs.is_part_of_a_run(run_params):
            runs.move_latest(root)
        return found

    def _write_history(self) -> None:
        history, self._history = self._history, None
        if history is not None and self._context is not None:
            history.write(storage_root_of(self._context), Path(self._context.project_path))


def storage_root_of(context: KedroContext) -> str:
    """Returns where the datasets of a project are kept, as its ``globals.yml`` says; empty where it does not."""
    try:
        return str(context.config_loader["globals"].get("storage_root", ""))
    except MissingConfigException:
        return ""


class HistoryRecorder:
    """Records what a run saves.

    Args:
        run_id: Kedro's id of the run.
        env: The Kedro environment.
        catalog: The catalog of the run.
    """

    def __init__(self, run_id: str, env: str | None, catalog: DataCatalog) -> None:
        self._run_id, self._env, self._catalog = run_id, env, catalog
        self._content: dict[str, dict[str, Any] | None] = {}
        self._read: dict[tuple[str, str], dict[str, Any] | None] = {}  # by node and input
        self.entries: list[dict[str, Any]] = []
        self.heard_of_nodes = False
        """Whether a node ran in this process: a runner whose nodes run in others fires no hooks of theirs here."""

    def note_input(self, name: str, node: Node) -> None:
        """Notes what an input holds as a node is about to read it; of one that cannot be read, reading says more."""
        self.heard_of_nodes = True
        if not is_parameter(name):  # those are the same throughout the run
            with suppress(Exception):
                self._read[node.name, name] = describe_content(self._catalog.get(name))

    def note_inputs(self, node: Node) -> None:
        """Notes what the inputs of a node hold, but for those that it has read itself."""
        self.heard_of_nodes = True
        for name in node.inputs:
            if (node.name, name) not in self._read:
                self.note_input(name, node)

    def record(self, dataset: str, node: Node) -> None:
        """Records that a node has saved a dataset; what cannot be found out is left out, and never stops a run."""
        self._content[dataset] = content = self._describe(dataset)
        if content is None:
            return
        inputs = {name: self._of_input(name, node) for name in sorted(node.inputs)}
        self.entries.append(
            {
                "dataset": dataset,
                "saved_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "by": runs.who(),
                "run_id": self._run_id,
                "env": self._env,
                "node": node.name,
                "version": __version__,
                "content": content,
                "inputs": {name: facts for name, facts in inputs.items() if facts is not None},
            }
        )

    def record_all(self, pipeline: Pipeline, ran: Collection[str]) -> None:
        """Records after a run what its nodes have saved, from what is there by then."""
        for node in pipeline.nodes:
            for name in node.outputs:
                if name in ran:
                    self.record(name, node)

    def write(self, storage_root: str, project: Path) -> None:
        """Writes what was recorded below the storage root."""
        if not self.entries:
            return
        filesystem, root = runs.open_root(storage_root, project)
        name = "".join(character if character.isalnum() or character in ".-_" else "-" for character in self._run_id)
        data = json.dumps({"format": _FORMAT, "entries": self.entries}, indent=1).encode()
        # The parts of a run on other machines have its id too, and their own nodes on record.
        path = f"{root}/{FOLDER}/{name}-{secrets.token_hex(3)}.json"
        try:
            write_whole(filesystem, path, data)
        except Exception as error:  # noqa: BLE001 - the data are saved; a missing line of history is no reason to fail
            logger.warning("The history of this run could not be written to %s: %s", path, error)

    def _of_input(self, name: str, node: Node) -> dict[str, Any] | None:
        if (node.name, name) in self._read:
            return self._read[node.name, name]
        # A parameter, or the input of a node that read it on another machine.
        if name not in self._content:
            self._content[name] = self._describe(name)
        return self._content[name]

    def _describe(self, name: str) -> dict[str, Any] | None:
        try:
            if is_parameter(name):
                return describe_value(self._catalog.load(name))
            return describe_content(self._catalog.get(name))
        except Exception as error:  # noqa: BLE001 - see record
            logger.warning("What %s holds could not be recorded in the history: %s", name, error)
            return None


def describe_value(value: Any) -> dict[str, Any]:
    """Returns the hash of a parameter as nodes get it."""
    text = json.dumps(value, sort_keys=True, default=str)
    return {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def describe_content(dataset: Any) -> dict[str, Any] | None:
    """Returns size and hash of what a dataset holds; ``None`` where it is not kept in files.

    The hash is that of the file; of a folder that of its manifest, or where there is none of its files' names, sizes
    and times; of an object in a store the store's own tag. A dataset that is none of these says itself by what its
    content is known: its method ``fingerprint``.
    """
    from kedro.io import AbstractVersionedDataset, CachedDataset

    if isinstance(dataset, CachedDataset):
        dataset = dataset._dataset  # Kedro has no public way to what is behind the cache
    if (own := getattr(dataset, "fingerprint", None)) is not None:
        return dict(own())
    if not isinstance(dataset, AbstractVersionedDataset) or not dataset.exists():
        return None
    filesystem = getattr(dataset, "_fs", None) or fsspec.filesystem("file")
    path = dataset._get_load_path().as_posix()
    filesystem.invalidate_cache()
    if filesystem.isdir(path):
        found = sorted(filesystem.find(path, detail=True).items())
        files = [each for each in found if not each[0].endswith(f"/{FINDER}")]
        facts = [(name, info["size"], str(info.get("ETag") or info.get("mtime"))) for name, info in files]
        manifest = f"{path}/manifest.json"
        # Of a folder in a store this is the pointer, which names the content by its hash.
        known_by = filesystem.cat_file(manifest) if filesystem.exists(manifest) else json.dumps(facts).encode()
        return {"size_bytes": sum(size for _, size, _ in facts), "sha256": hashlib.sha256(known_by).hexdigest()}
    info = filesystem.info(path)
    content: dict[str, Any] = {"size_bytes": int(info["size"])}
    if "file" not in protocols(filesystem):
        content["etag"] = str(info.get("ETag", "")).strip('"')
    elif info["size"] <= _HASHED_BYTES:
        content["sha256"] = sha256_of(Path(path))
    else:
        content["modified"] = datetime.fromtimestamp(info["mtime"], tz=UTC).isoformat()
    return content


def read_history(storage_root: str, project: Path) -> dict[str, list[dict[str, Any]]]:
    """Returns the saves on record by dataset, the latest last.

    Raises:
        DatasetFileError: The storage cannot be read.
    """
    saves: dict[str, list[dict[str, Any]]] = {}
    for entry in sorted(_entries(storage_root, project), key=lambda entry: str(entry.get("saved_at"))):
        saves.setdefault(str(entry.get("dataset")), []).append(entry)
    return saves


def _entries(storage_root: str, project: Path) -> Iterator[dict[str, Any]]:
    filesystem, root = runs.open_root(storage_root, project)
    folder = f"{root}/{FOLDER}"
    try:
        filesystem.invalidate_cache()
        names = [name for name in filesystem.ls(folder, detail=False) if name.endswith(".json")]
        # In a store all at once; one that cannot be read comes as its error.
        contents = filesystem.cat(names, on_error="return") if names else {}
    except FileNotFoundError as error:
        if (message := explain_remote(error, storage_root, "read")) is not None:
            raise DatasetFileError(message) from error
        return
    except Exception as error:
        raise DatasetFileError(cannot_read(folder, error)) from error
    for name, content in contents.items():
        try:
            found = [entry for entry in json.loads(content)["entries"] if isinstance(entry, dict)]
        except (ValueError, KeyError, TypeError):
            logger.warning("%s: not a readable part of the history; left out.", name)
        else:
            yield from found
