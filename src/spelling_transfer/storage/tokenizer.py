"""The tokenizer in the catalog."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError
from kedro.utils import find_kedro_project

from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer


class ChatTokenizerDataset(AbstractDataset[None, ChatTokenizer]):
    """A tokenizer with its chat template; read only.

    Without a folder it is the official Qwen3 tokenizer, which comes with an installed package and needs no network.
    """

    def __init__(
        self, *, folder: str | None = None, sha256: str | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Points at a tokenizer.

        Args:
            folder: Where ``tokenizer.json`` and ``tokenizer_config.json`` are; relative paths start at the project's
                root. ``None`` is the embedded Qwen3 tokenizer.
            sha256: The hash ``tokenizer.json`` must have; the embedded one is always checked.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        self._folder = Path(find_kedro_project(Path.cwd()) or Path.cwd()) / folder if folder is not None else None
        self._sha256 = sha256
        self._loaded: ChatTokenizer | None = None
        self.metadata = metadata

    def load(self) -> ChatTokenizer:
        """Loads the tokenizer and checks its hash.

        Raises:
            TokenizerFileError: A file is missing, unreadable or not the one it should be.
        """
        # Kept, as most nodes of a run ask for it and reading it takes a second.
        if self._loaded is None:
            self._loaded = load_chat_tokenizer(self._folder, expected_sha256=self._sha256)
        return self._loaded

    def save(self, data: None) -> NoReturn:
        """Refuses: the tokenizer belongs to the model and is never written.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("a tokenizer is read only; name another dataset as the node's output")

    def _exists(self) -> bool:
        return self._folder is None or (self._folder / "tokenizer.json").is_file()

    def _release(self) -> None:
        self._loaded = None

    def _describe(self) -> dict[str, Any]:
        return {"folder": self._folder or "embedded Qwen3"}
