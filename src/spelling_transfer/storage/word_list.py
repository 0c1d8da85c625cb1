"""A user's own word list in the catalog, or none."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, NoReturn

import fsspec
from kedro.io import AbstractDataset, DatasetError
from kedro.io.core import get_filepath_str, get_protocol_and_path

from spelling_transfer.words.word_list import WordListFile


class WordListDataset(AbstractDataset[None, WordListFile]):
    """A text or CSV file of words, as it is; read only. Without a file it stands for the built-in list."""

    def __init__(
        self,
        *,
        filepath: str | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Points at a word list.

        Args:
            filepath: The file, local or a URL; ``None`` is the built-in list.
            credentials: For a URL, as fsspec takes them.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        self.metadata = metadata
        self._filepath: PurePosixPath | None = None
        if filepath is not None:
            self._protocol, path = get_protocol_and_path(filepath)
            self._filepath = PurePosixPath(path)
            self._fs = fsspec.filesystem(self._protocol, **(credentials or {}))

    def load(self) -> WordListFile:
        """Returns the file's name and bytes; what they mean is checked where words are selected.

        Raises:
            DatasetError: The file cannot be read.
        """
        if self._filepath is None:
            return WordListFile()
        path = get_filepath_str(self._filepath, self._protocol)
        try:
            return WordListFile(name=self._filepath.name, data=self._fs.cat_file(path))
        except OSError as error:
            raise DatasetError(
                f"{path} cannot be read: {error.strerror or error}. Set 'filepath' of 'word_list' to a text or CSV "
                "file of words, or to null for the built-in list."
            ) from error

    def save(self, data: None) -> NoReturn:
        """Refuses: a word list is the user's.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("a word list is read only; name another dataset as the node's output")

    def _exists(self) -> bool:
        return self._filepath is None or bool(self._fs.exists(get_filepath_str(self._filepath, self._protocol)))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath or "built-in list"}
