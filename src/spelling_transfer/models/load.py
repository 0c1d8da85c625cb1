"""From a model folder to a model that is ready for training or generation."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch


@dataclass
class LoadedModel:
    """A causal language model in memory, with the map from token ids to its rows.

    Attributes:
        model: transformers' ``PreTrainedModel``, or PEFT's ``PeftModel`` around it; ``Any``, because neither is typed.
        vocabulary: Token ids to embedding rows.
    """

    model: Any
    vocabulary: Vocabulary
    _head_rows: tuple[tuple[Any, ...], Any] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def backbone(self) -> Any:
        """The model without its head, layers of an adapter included."""
        # PEFT puts its layers inside the base model.
        base = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        return base.model

    def head_rows(self, rows: Sequence[int]) -> torch.Tensor:
        """Returns rows of the output embedding, shape ``(rows, hidden)``; kept until the weights or the rows change."""
        weight = self.model.get_output_embeddings().weight
        version = None if weight.is_inference() else weight._version
        key = (id(weight), version, str(weight.device), tuple(rows))
        if self._head_rows is None or self._head_rows[0] != key:
            self._head_rows = key, weight.detach()[list(rows)]
        kept: torch.Tensor = self._head_rows[1]
        return kept

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
        return device


def pick_device() -> str:
    """Returns the best device here: ``cuda``, ``mps`` or ``cpu``."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_model(
    folder: ModelFolder,
    profile: ModelProfile | None = None,
    adapter: ModelFolder | None = None,
    *,
    device: str | None = None,
) -> LoadedModel:
    """Loads a base model, with an adapter on top where one is given. Safetensors only, no remote code.

    Args:
        folder: The base model's (or an exported model's) folder.
        profile: How to load it; without one the weights are float32.
        adapter: A PEFT adapter that was trained on this base.
        device: Where to put it; the best device here by default.

    Raises:
        ModelFolderError: The folder does not hold a loadable model, or the adapter belongs to another base.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar for every file of weights says nothing here
    dtype = getattr(torch, profile.dtype if profile else "float32")
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(folder.path), dtype=dtype, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelFolderError(f"{folder.path}: cannot be loaded as a causal language model ({error}).") from error
    if adapter is not None:
        model = _with_adapter(model, folder, adapter)
    model.to(device or pick_device())
    model.eval()
    n_rows = model.get_input_embeddings().weight.shape[0]
    return LoadedModel(model=model, vocabulary=Vocabulary.of_folder(folder.path, n_rows))


def _with_adapter(model: Any, folder: ModelFolder, adapter: ModelFolder) -> Any:
    from peft import PeftModel

    trained_on = adapter.manifest().get("base_sha256")
    if trained_on is not None and trained_on != folder.sha256:
        raise ModelFolderError(
            f"{adapter.path}: this adapter was trained on another base (manifest {trained_on[:12]}…) than "
            f"{folder.path} (manifest {folder.sha256[:12]}…). Train it again with 'kedro run --pipelines tuning'."
        )
    with without_peft_warning():
        return PeftModel.from_pretrained(model, str(adapter.path))


@contextmanager
def without_peft_warning() -> Iterator[None]:
    """Silences transformers' advice to PEFT about an attribute of an older name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def read_embedding(folder: ModelFolder) -> tuple[np.ndarray, np.ndarray]:
    """Reads the input embedding alone.

    Returns:
        The token id of each row, shape ``(rows,)``, and the matrix as float32, shape ``(rows, hidden)``.

    Raises:
        ModelFolderError: The folder holds no embedding in safetensors.
    """
    from safetensors import safe_open

    name = "model.embed_tokens.weight"
    index = folder.path / "model.safetensors.index.json"
    file = json.loads(index.read_text())["weight_map"].get(name) if index.is_file() else "model.safetensors"
    if file is None or not (folder.path / file).is_file():
        raise ModelFolderError(f"{folder.path}: no safetensors file holds {name}.")
    # Through torch because numpy has no bfloat16.
    with safe_open(folder.path / file, framework="pt") as tensors:
        matrix = tensors.get_tensor(name).float().numpy()
    vocabulary = Vocabulary.of_folder(folder.path, len(matrix))
    return vocabulary.to_ids(np.arange(len(matrix))), matrix
