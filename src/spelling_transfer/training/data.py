"""Encoded examples as batches: little padding, an order that depends on the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.loss import IGNORED_LABEL
from spelling_transfer.models.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch

_BUCKET_STEPS = 16
"""Steps whose examples are sorted by length together: enough to save padding, few enough to keep the order random."""


class TrainingDataError(SpellingTransferError):
    """The encoded examples cannot be trained on."""


@dataclass(frozen=True)
class Batch:
    """One batch, right-padded.

    Attributes:
        input_ids: Embedding rows, shape ``(batch, sequence)``.
        attention_mask: 1 where there is a token, same shape.
        labels: The row at each label position, -100 elsewhere, same shape.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on another device."""
        return Batch(self.input_ids.to(device), self.attention_mask.to(device), self.labels.to(device))


class EncodedExamples:
    """Token ids of all examples in one flat array, mapped to the model's rows once.

    Args:
        frame: Rows of ``encoded_examples``.
        vocabulary: The model's rows.
        end_id: The token every label span must end in.

    Raises:
        TrainingDataError: There are no examples, or a label span is empty or lacks the end token.
        UnknownTokenError: An example needs a token the model does not have.
    """

    def __init__(self, frame: pd.DataFrame, vocabulary: Vocabulary, end_id: int) -> None:
        if frame.empty:
            raise TrainingDataError(
                "No examples to train on: the split, kind and task asked for are empty. Check 'example_mix' in "
                "conf/base/parameters/local_prep.yml and run 'kedro run --pipelines local_prep' again."
            )
        lengths = frame["input_ids"].map(len).to_numpy()
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.concatenate(frame["input_ids"].to_list()).astype(np.int64)
        self.label_start = frame["label_start"].to_numpy(dtype=np.int64)
        bad = (flat[self.offsets[1:] - 1] != end_id) | (self.label_start >= lengths) | (self.label_start < 1)
        if bad.any():
            first = frame.iloc[int(np.argmax(bad))]
            raise TrainingDataError(
                f"{int(bad.sum())} examples have a label span that is empty or lacks the end token (first: "
                f"{first['example_id']}). Encode them again with 'kedro run --pipelines local_prep'."
            )
        self.rows = vocabulary.to_rows(flat)
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.label_start)

    def label_rows(self) -> np.ndarray:
        """Returns the rows that occur in a label, ascending."""
        positions = np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], self.lengths)
        return np.unique(self.rows[positions >= np.repeat(self.label_start, self.lengths)])

    def batch(self, indices: Sequence[int]) -> Batch:
        """Returns the examples at ``indices`` as one padded batch."""
        import torch

        width = int(self.lengths[list(indices)].max())
        ids = np.zeros((len(indices), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        labels = np.full_like(ids, IGNORED_LABEL)
        for i, index in enumerate(indices):
            row = self.rows[self.offsets[index] : self.offsets[index + 1]]
            ids[i, : len(row)], mask[i, : len(row)] = row, 1
            labels[i, self.label_start[index] : len(row)] = row[self.label_start[index] :]
        return Batch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(labels))


class StepSampler:
    """Yields the examples of each optimiser step, as one list of batches a step, for ever.

    Each epoch is a permutation drawn from the seed and the epoch's number; neighbours in length share a batch.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples a batch.
        grad_accum_steps: Batches a step.
        seed: The order's seed.
        first_step: Steps to pass over, when a run is resumed.
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, grad_accum_steps: int, seed: int, first_step: int = 0
    ) -> None:
        self.lengths = lengths
        self.first_step = first_step
        self.batch_size = batch_size
        self.grad_accum_steps = grad_accum_steps
        self.seed = seed

    def __iter__(self) -> Iterator[list[list[int]]]:
        epochs = chain.from_iterable(self._epoch(epoch) for epoch in count())
        return islice(epochs, self.first_step, None)

    def _epoch(self, epoch: int) -> Iterator[list[list[int]]]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        step_size = min(self.batch_size * self.grad_accum_steps, len(order))
        bucket_size = step_size * _BUCKET_STEPS
        for start in range(0, len(order), bucket_size):
            bucket = order[start : start + bucket_size]
            bucket = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            batches = [bucket[i : i + self.batch_size].tolist() for i in range(0, len(bucket), self.batch_size)]
            # Short and long batches alternate, else the length would follow the step number.
            batches = [batches[i] for i in rng.permutation(len(batches))]
            for i in range(0, len(batches), self.grad_accum_steps):
                yield batches[i : i + self.grad_accum_steps]
