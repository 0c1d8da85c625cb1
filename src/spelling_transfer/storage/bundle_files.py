"""The files of a bundle in the catalog: what loads is facts about them, for a manifest."""

from __future__ import annotations

import posixpath
from typing import Any, NoReturn

import fsspec
from kedro.io import AbstractDataset, DatasetError
from kedro.io.core import get_protocol_and_path

from spelling_transfer.storage.bundle import file_facts


class BundleFilesDataset(AbstractDataset[None, dict[str, dict[str, Any]]]):
    """Hash, size, rows and schema of files below one root; read only.

    A node that takes it must also take what the nodes that write these files return, so that Kedro runs it after them.
    """

    def __init__(
        self,
        *,
        root: str,
        files: list[str],
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Points at the files.

        Args:
            root: A folder, local or a URL.
            files: Paths below it.
            credentials: For a URL, as fsspec takes them.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        protocol, self._root = get_protocol_and_path(root)
        self._files = files
        self._fs = fsspec.filesystem(protocol, **(credentials or {}))
        self.metadata = metadata

    def load(self) -> dict[str, dict[str, Any]]:
        """Returns the facts of each file by its path below the root.

        Raises:
            DatasetError: A file is missing or damaged.
        """
        self._fs.invalidate_cache()
        facts = {}
        for name in self._files:
            try:
                facts[name] = file_facts(posixpath.join(self._root, name), self._fs)
            except (OSError, ValueError) as error:
                raise DatasetError(
                    f"{posixpath.join(self._root, name)} cannot be put into the manifest: {error}. Run 'kedro run "
                    "--pipelines=local_prep' from its start."
                ) from error
        return facts

    def save(self, data: None) -> NoReturn:
        """Refuses: each file is written by the dataset it belongs to.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("the files of a bundle are written by their own datasets")

    def _exists(self) -> bool:
        return all(self._fs.exists(posixpath.join(self._root, name)) for name in self._files)

    def _describe(self) -> dict[str, Any]:
        return {"root": self._root, "files": self._files}
