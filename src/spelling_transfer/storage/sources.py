"""What a run reads and never writes: word list, tokenizer, models from a GGUF file or the hub, facts of files.

A folder that a node works in is here too: no node has it as its output.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import posixpath
import re
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TypeVar

import fsspec
from kedro.io import AbstractDataset, DatasetError
from kedro.io.core import get_filepath_str, get_protocol_and_path
from kedro.utils import find_kedro_project

from spelling_transfer.files import sha256_of
from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError
from spelling_transfer.models.gguf import Dtype, convert_gguf
from spelling_transfer.storage.access import check_transport, protocols
from spelling_transfer.storage.bundles.local_files import file_facts
from spelling_transfer.storage.errors import DatasetFileError, cannot_write, explain_remote, reason
from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, ChatTokenizer, load_chat_tokenizer
from spelling_transfer.words.word_list import WordListFile

Loaded = TypeVar("Loaded")

_HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "tokenizer*.json", "chat_template.jinja"]
"""No pickle, no code, and not ``generation_config.json``, which would override sampling unseen."""


class _ReadOnly(AbstractDataset[Any, Loaded]):
    def save(self, data: Any) -> NoReturn:
        """Refuses: nothing is written here.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError(f"{type(self).__name__} is read only; name another dataset as the node's output")


class WordListDataset(_ReadOnly[WordListFile]):
    """A user's text or CSV file of words, as it is. Without a file it stands for the built-in list."""

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
            check_transport(self._fs)
            return WordListFile(name=self._filepath.name, data=self._fs.cat_file(path))
        except Exception as error:
            raise DatasetError(
                explain_remote(error, path, "read")
                or f"{path} cannot be read: {reason(error)}. Set 'filepath' of 'word_list' to a text or CSV file of "
                "words, or to null for the built-in list."
            ) from error

    def fingerprint(self) -> dict[str, str]:
        """Returns by what the list is known: the hash of the file, or the version of the package that has the list."""
        if self._filepath is None:
            return {"wordfreq": version("wordfreq")}
        if not self.exists():
            return {"sha256": "missing"}
        return {"sha256": hashlib.sha256(self.load().data or b"").hexdigest()}

    def _exists(self) -> bool:
        return self._filepath is None or bool(self._fs.exists(get_filepath_str(self._filepath, self._protocol)))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath or "built-in list"}


class ChatTokenizerDataset(_ReadOnly[ChatTokenizer]):
    """A tokenizer with its chat template.

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
        self._folder = _project() / folder if folder is not None else None
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

    def fingerprint(self) -> dict[str, str]:
        """Returns the hash of the tokenizer's files; the embedded one has none but its own."""
        if self._folder is None:
            return {"sha256": QWEN3_TOKENIZER_SHA256}
        names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
        return _hash_of([self._folder / name for name in names])

    def _exists(self) -> bool:
        return self._folder is None or (self._folder / "tokenizer.json").is_file()

    def _release(self) -> None:
        self._loaded = None

    def _describe(self) -> dict[str, Any]:
        return {"folder": self._folder or "embedded Qwen3"}


class GgufModelDataset(_ReadOnly[Any]):
    """A model folder made from a GGUF file: converted at the first load, kept after that."""

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
        self._project = _project()
        self._file = file
        self._sha256 = sha256
        self._folder = self._project / folder
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

    def fingerprint(self) -> dict[str, str]:
        """Returns the hash that the GGUF file must have, and what is made of it."""
        return {"sha256": self._sha256, "dtype": self._dtype}

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


class NotDownloadedError(ModelFolderError):
    """A model of the hub is not here, and nothing was to be downloaded."""


class HubModelDataset(_ReadOnly[ModelFolder]):
    """A model of the hub: its safetensors at a pinned revision, downloaded once and kept in the hub's own cache."""

    def __init__(
        self,
        *,
        repo_id: str,
        revision: str | None = None,
        tokenizer_sha256: str | None = None,
        endpoint: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Points at a repository of the hub; nothing is downloaded before the first load.

        Args:
            repo_id: Owner and name, such as ``Qwen/Qwen3-4B``.
            revision: The commit, 40 hexadecimal digits; a branch could change under a study.
            tokenizer_sha256: Hash that ``tokenizer.json`` must have.
            endpoint: Another hub than the public one. A token, where one is needed, comes from ``HF_TOKEN``.
            metadata: Anything; read by Kedro-Viz, not by Kedro.

        Raises:
            ModelFolderError: The revision is missing or not a commit.
        """
        if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
            raise ModelFolderError(
                f"revision: {revision!r} of {repo_id} is not a commit of 40 hexadecimal digits; a branch or a tag may "
                "change under a study. The commit stands on the repository's page, under its history."
            )
        self._repo_id = repo_id
        self._revision = revision
        self._tokenizer_sha256 = tokenizer_sha256
        self._endpoint = endpoint
        self.metadata = metadata

    def load(self) -> ModelFolder:
        """Returns the folder in the hub's cache, downloaded if it is not there yet.

        Raises:
            NotDownloadedError: The model is not in the cache, and ``HF_HUB_OFFLINE=1`` forbids a download.
            ModelFolderError: The hub cannot be reached and the cache is empty, the weights are no safetensors, or the
                tokenizer is another one.
        """
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        offline = os.environ.get("HF_HUB_OFFLINE") == "1"  # the library reads it once, at import
        try:
            path = Path(
                snapshot_download(
                    self._repo_id,
                    revision=self._revision,
                    allow_patterns=_HUB_FILES,
                    endpoint=self._endpoint,
                    local_files_only=offline,
                )
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
            if offline and isinstance(error, LocalEntryNotFoundError):
                raise NotDownloadedError(
                    f"{self._place}: not downloaded yet. The first run that reaches the hub does it, or now: "
                    f"hf download {self._repo_id} --revision {self._revision}"
                ) from error
            raise ModelFolderError(
                f"{self._place}: cannot be downloaded ({type(error).__name__}). Check the network, the name and, for "
                "a gated model, HF_TOKEN; 'kedro doctor' says what is reachable."
            ) from error
        folder = ModelFolder.open(path)
        if not any(path.glob("*.safetensors")):
            raise ModelFolderError(
                f"{self._place}: has no safetensors weights. Pickles (pytorch_model.bin) are not downloaded, as "
                "opening one could run code; take a revision that has safetensors."
            )
        if self._tokenizer_sha256 is not None:
            self._check_tokenizer(path / "tokenizer.json")
        return folder

    def _check_tokenizer(self, file: Path) -> None:
        actual = sha256_of(file) if file.is_file() else "missing"
        if actual != self._tokenizer_sha256:
            raise ModelFolderError(
                f"{self._place}: tokenizer.json is {actual}, expected {self._tokenizer_sha256}. Prepared examples hold "
                "the ids of another tokenizer; check the revision."
            )

    @property
    def _place(self) -> str:
        return f"{self._repo_id} at {self._revision[:12]}"

    def fingerprint(self) -> dict[str, str]:
        """Returns the commit, which is the content."""
        return {"repository": self._repo_id, "revision": self._revision}

    def _exists(self) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self._repo_id, "config.json", revision=self._revision), str)

    def _describe(self) -> dict[str, Any]:
        return {"repo_id": self._repo_id, "revision": self._revision}


class BundleFilesDataset(_ReadOnly[dict[str, dict[str, Any]]]):
    """Hash, size, rows and schema of files below one root, for a manifest.

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

    def fingerprint(self) -> dict[str, str]:
        """Returns a hash of the files' hashes; in a store, of its tags."""
        facts = []
        for name in self._files:
            path = posixpath.join(self._root, name)
            if not self._fs.exists(path):
                facts.append("missing")
            elif "file" in protocols(self._fs):
                facts.append(_hash_of([Path(path)])["sha256"])
            else:
                facts.append(str(self._fs.info(path).get("ETag")))
        return {"sha256": hashlib.sha256("\n".join(facts).encode()).hexdigest()}

    def _exists(self) -> bool:
        return all(self._fs.exists(posixpath.join(self._root, name)) for name in self._files)

    def _describe(self) -> dict[str, Any]:
        return {"root": self._root, "files": self._files}


class WorkFolderDataset(_ReadOnly[Path]):
    """Gives a local folder, made where it is missing; what is in it is the business of the node that reads it.

    A study's records, checkpoints and workers need a place that outlives a killed run, which no output of a node is.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Points at a folder.

        Args:
            filepath: The folder; relative paths start at the project's root.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        if "://" in filepath:
            raise DatasetError(f"filepath: {filepath} is not a folder of this machine.")
        self._work_folder = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Returns the folder.

        Raises:
            DatasetFileError: It cannot be made.
        """
        try:
            self._work_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetFileError(cannot_write(str(self._work_folder), error)) from error
        return self._work_folder

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        # Not as a file path: it is a place on whichever machine the node runs on, and nothing that crosses to another.
        return {"work_folder": str(self._work_folder)}


def _hash_of(files: list[Path]) -> dict[str, str]:
    content = b"".join(file.read_bytes() for file in files if file.is_file())
    return {"sha256": hashlib.sha256(content).hexdigest()}


def _project() -> Path:
    return Path(find_kedro_project(Path.cwd()) or Path.cwd())
