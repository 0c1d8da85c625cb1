"""How well a model foresees answers, by torch, or by MLX on a Mac, where models in bf16 and 4 bits fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spelling_transfer.models.engines import load_mlx
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.load import load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.vocabulary import Vocabulary


class ScoredBatch(NamedTuple):
    """A right-padded batch.

    Attributes:
        rows: Embedding rows, shape ``(batch, sequence)``, 0 where padded.
        mask: 1 where there is a token, same shape.
        is_label: Whether the token is part of the answer, same shape.
    """

    rows: np.ndarray
    mask: np.ndarray
    is_label: np.ndarray

    def mean_by_example(self, losses: np.ndarray) -> np.ndarray:
        """Returns the mean of each example's label losses, which come in the order of ``is_label``."""
        lengths = self.is_label.sum(axis=1)
        means: np.ndarray = np.add.reduceat(losses.astype(np.float64), np.cumsum(lengths) - lengths) / lengths
        return means


def make_batch(input_ids: Sequence[Sequence[int]], label_start: Sequence[int], vocabulary: Vocabulary) -> ScoredBatch:
    """Pads examples on the right and maps their ids to the model's rows.

    Raises:
        UnknownTokenError: An example needs a token that a trimmed model does not have.
    """
    shape = len(input_ids), max(map(len, input_ids))
    rows, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    is_label = np.zeros(shape, dtype=bool)
    for place, (ids, start) in enumerate(zip(input_ids, label_start, strict=True)):
        rows[place, : len(ids)], mask[place, : len(ids)] = vocabulary.to_rows(ids), 1
        is_label[place, start : len(ids)] = True
    return ScoredBatch(rows, mask, is_label)


class TorchScorer:
    """Mean loss over answers; the torch backend of ``spelling_transfer.words.difficulty.Scorer``.

    Args:
        folder: The model's folder.
        profile: How it is loaded; float32 without one.

    Raises:
        ModelFolderError: The folder is missing, altered, or holds no causal language model.
    """

    def __init__(self, folder: ModelFolder, profile: ModelProfile | None = None) -> None:
        self._loaded = load_model(ModelFolder.open(folder.path), profile)

    def answer_losses(self, input_ids: Sequence[Sequence[int]], label_start: Sequence[int]) -> np.ndarray:
        """Returns the mean loss over each answer in nats a token, float64, shape ``(examples,)``."""
        import torch

        from spelling_transfer.models.loss import IGNORED_LABEL, answer_hidden_states

        batch = make_batch(input_ids, label_start, self._loaded.vocabulary)
        labels = np.where(batch.is_label, batch.rows, IGNORED_LABEL)
        with torch.inference_mode():
            arrays = [torch.from_numpy(each).to(self._loaded.device) for each in (batch.rows, batch.mask, labels)]
            states, targets = answer_hidden_states(self._loaded.model, *arrays)
            logits = self._loaded.model.get_output_embeddings()(states).float()
            losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return batch.mean_by_example(losses.cpu().numpy())


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
        self._model, self._vocabulary = load_mlx(folder, profile)

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
