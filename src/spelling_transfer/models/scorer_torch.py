"""How well a model foresees answers, by torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.scorer_batch import make_batch


class TorchScorer:
    """Mean loss over answers; the torch backend of ``spelling_transfer.words.difficulty.Scorer``.

    Args:
        folder: The model's folder.
        profile: How it is loaded; float32 without one.

    Raises:
        ModelFolderError: The folder is missing, altered, or holds no causal language model.
    """

    def __init__(self, folder: ModelFolder, profile: ModelProfile | None = None) -> None:
        from spelling_transfer.models.load import load_model

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
