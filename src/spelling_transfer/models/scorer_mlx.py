"""How well a model foresees answers, by MLX: the way on a Mac, where bf16 and 4-bit models fit into shared memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.scorer_batch import make_batch
from spelling_transfer.models.vocabulary import Vocabulary


class MlxMissingError(SpellingTransferError):
    """MLX is asked for where it is not installed."""


class MlxScorer:
    """Mean loss over answers; the MLX backend of ``spelling_transfer.words.difficulty.Scorer``.

    Reads the same safetensors folders as the torch backend, and the quantised ones that ``mlx_lm.convert`` writes.

    Args:
        folder: The model's folder.
        profile: Its ``dtype`` is that of the weights, except in a quantised model; float32 without a profile.

    Raises:
        MlxMissingError: ``mlx-lm`` is not installed.
        ModelFolderError: The folder is missing, altered, or holds no model that ``mlx-lm`` knows.
    """

    def __init__(self, folder: ModelFolder, profile: ModelProfile | None = None) -> None:
        try:
            import mlx.core as mx
            from mlx.utils import tree_map
            from mlx_lm.utils import load_model
        except ImportError as error:
            raise MlxMissingError(
                f"difficulty.backend: 'mlx' needs mlx-lm, which cannot be imported ({error}). On an Apple Silicon Mac "
                "it comes with this project; on Linux install 'mlx-lm[cpu]'. Or set difficulty.backend to 'torch'."
            ) from error
        path = ModelFolder.open(folder.path).path
        try:
            self._model, config = load_model(path, model_config=with_rope_theta(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelFolderError(f"{path}: cannot be loaded by mlx-lm ({error}).") from error
        if "quantization" not in config:
            dtype = getattr(mx, profile.dtype if profile else "float32")
            self._model.update(tree_map(lambda weight: weight.astype(dtype), self._model.parameters()))
        self._vocabulary = Vocabulary.of_folder(path, int(config["vocab_size"]))

    def answer_losses(self, input_ids: Sequence[Sequence[int]], label_start: Sequence[int]) -> np.ndarray:
        """Returns the mean loss over each answer in nats a token, float64, shape ``(examples,)``."""
        import mlx.core as mx
        from mlx import nn

        batch = make_batch(input_ids, label_start, self._vocabulary)
        # Attention looks back only and padding is on the right, so no mask is needed.
        states = self._model.model(mx.array(batch.rows))
        example, place = np.nonzero(batch.is_label)
        states = states[mx.array(example), mx.array(place - 1)]  # the state before a token foresees it
        head = getattr(self._model, "lm_head", None) or self._model.model.embed_tokens.as_linear
        losses = nn.losses.cross_entropy(head(states).astype(mx.float32), mx.array(batch.rows[batch.is_label]))
        return batch.mean_by_example(np.array(losses))


def with_rope_theta(path: Path) -> dict[str, Any]:
    """Returns ``rope_theta`` where transformers 5 keeps it under ``rope_parameters``, which mlx-lm does not read."""
    config = json.loads((path / "config.json").read_text())
    theta = (config.get("rope_parameters") or {}).get("rope_theta")
    return {"rope_theta": theta} if theta is not None and "rope_theta" not in config else {}
