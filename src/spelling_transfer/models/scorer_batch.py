"""Examples as a padded batch for the scorers; numpy alone, so that both backends see the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

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
