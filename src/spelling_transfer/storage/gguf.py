"""A model in a GGUF file, and its tokenizer: converted to a model folder at the first load, kept after that."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset
from kedro.utils import find_kedro_project

from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError
from spelling_transfer.models.gguf import Dtype, convert_gguf
from spelling_transfer.tokenizer.chat import ChatTokenizer, load_chat_tokenizer


class GgufModelDataset(AbstractDataset[None, Any]):
    """A read-only model folder made from a GGUF file."""

    def __init__(
        self,
        *,
        file: str,
        sha256: str,
        folder: str,
        package: str | None = None,
        install: str | None = None,
        dtype: Dtype = "float32",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Points at a GGUF file; nothing is read before the first load.

        Args:
            file: The GGUF file; relative paths start at the project's root, or in the package where one is given.
            sha256: The hash the file must have.
            folder: Where the converted model is kept; relative paths start at the project's root.
            package: An installed Python package that carries the file. It is not imported.
            install: The command that installs the package, for the message where it is missing.
            dtype: Type of the converted weights.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        project = Path(find_kedro_project(Path.cwd()) or Path.cwd())
        self._file = file
        self._project = project
        self._sha256 = sha256
        self._folder = project / folder
        self._package = package
        self._install = install
        self._dtype: Dtype = dtype
        self.metadata = metadata

    def load(self) -> Any:
        """Returns the folder, converted (which takes half a minute) if it is not there yet.

        Raises:
            ModelFolderError: The file is missing or another one, or the model cannot be converted.
        """
        return self._converted()

    def _converted(self) -> ModelFolder:
        place = self._project if self._package is None else self._package_folder(self._package)
        return convert_gguf(place / self._file, self._folder, sha256=self._sha256, dtype=self._dtype)

    def _package_folder(self, package: str) -> Path:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            if (self._folder / MANIFEST).is_file():
                return self._project  # converted before; the file is not needed any more
            how = f" Install it with '{self._install}'." if self._install else ""
            raise ModelFolderError(f"package: {package!r}, which carries {self._file}, is not installed.{how}")
        return Path(spec.submodule_search_locations[0])

    def save(self, data: None) -> NoReturn:
        """Refuses: a GGUF file is read only.

        Raises:
            ModelFolderError: Always.
        """
        raise ModelFolderError(f"{self._file}: a GGUF file is read-only here; name another dataset as the output.")

    def _exists(self) -> bool:
        return (self._folder / MANIFEST).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"file": self._file, "package": self._package, "folder": str(self._folder), "dtype": self._dtype}


class GgufTokenizerDataset(GgufModelDataset):
    """The tokenizer of a GGUF file, with the chat template inside it; takes the same settings as the model."""

    _loaded: ChatTokenizer | None = None

    def load(self) -> ChatTokenizer:
        """Returns the tokenizer; the whole file is converted if that has not been done yet.

        Raises:
            ModelFolderError: As for the model.
            TokenizerFileError: The template has no non-thinking form.
        """
        # Kept, as most nodes of a run ask for it.
        if self._loaded is None:
            self._loaded = load_chat_tokenizer(self._converted().path)
        return self._loaded

    def _release(self) -> None:
        self._loaded = None
