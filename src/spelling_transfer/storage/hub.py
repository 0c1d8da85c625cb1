"""A model on the hub: its safetensors at a pinned revision, downloaded once and kept in the hub's own cache."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from spelling_transfer.models.folder import ModelFolder, ModelFolderError

_FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "tokenizer*.json", "chat_template.jinja"]
"""No pickle, no code, and not ``generation_config.json``, which would override sampling unseen."""


class HubModelDataset(AbstractDataset[None, ModelFolder]):
    """A read-only model folder from the hub."""

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
        if revision is None:
            raise ModelFolderError(
                f"revision: missing for {repo_id}. Pin the commit, 40 hexadecimal digits: it stands on the "
                "repository's page, under its history."
            )
        if not re.fullmatch(r"[0-9a-f]{40}", revision):
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
            ModelFolderError: The hub cannot be reached and the cache is empty, the weights are no safetensors, or the
                tokenizer is another one.
        """
        import httpx
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            path = Path(
                snapshot_download(
                    self._repo_id, revision=self._revision, allow_patterns=_FILES, endpoint=self._endpoint
                )
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
            raise ModelFolderError(
                f"{self._repo_id} at {self._revision[:12]}: cannot be downloaded ({type(error).__name__}). Check the "
                "network, the name and, for a gated model, HF_TOKEN; 'kedro doctor' says what is reachable."
            ) from error
        if not any(path.glob("*.safetensors")):
            raise ModelFolderError(
                f"{self._repo_id} at {self._revision[:12]}: has no safetensors weights. Pickles (pytorch_model.bin) "
                "are not downloaded, as opening one could run code; take a revision that has safetensors."
            )
        if self._tokenizer_sha256 is not None:
            self._check_tokenizer(path / "tokenizer.json")
        return ModelFolder.open(path)

    def _check_tokenizer(self, file: Path) -> None:
        actual = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"
        if actual != self._tokenizer_sha256:
            raise ModelFolderError(
                f"{self._repo_id} at {self._revision[:12]}: tokenizer.json is {actual}, expected "
                f"{self._tokenizer_sha256}. Prepared examples hold the ids of another tokenizer; check the revision."
            )

    def save(self, data: None) -> None:
        """Refuses: nothing is written to the hub."""
        raise ModelFolderError(f"{self._repo_id}: a model of the hub is read-only here.")

    def _exists(self) -> bool:
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(self._repo_id, "config.json", revision=self._revision), str)

    def _describe(self) -> dict[str, Any]:
        return {"repo_id": self._repo_id, "revision": self._revision}
