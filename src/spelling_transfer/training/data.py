"""Encoded examples as batches, padded or packed, in an order that depends on the seed alone; one item a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.loss import IGNORED_LABEL
from spelling_transfer.models.vocabulary import Vocabulary
from spelling_transfer.training.config import TrainingSettings

_BUCKET_STEPS = 16
"""Steps whose examples are sorted by length together: enough to save padding, few enough to keep the order random."""


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


__all__ = ["Batch", "EncodedExamples", "StepSampler", "TrainingDataError"]


class TrainingDataError(SpellingTransferError):
    """The encoded examples cannot be trained on."""


@dataclass(frozen=True)
class Batch:
    """One batch, right-padded.

    Attributes:
        input_ids: Embedding rows, shape ``(rows, sequence)``.
        attention_mask: 1 where there is a token, same shape; ``None`` where the positions keep examples apart.
        labels: The row at each label position, -100 elsewhere, same shape.
        position_ids: Where rows hold several examples, the position of each token in its own, same shape.
        indices: Which examples it holds.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    labels: torch.Tensor
    position_ids: torch.Tensor | None = None
    indices: tuple[int, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on another device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            attention_mask=None if self.attention_mask is None else self.attention_mask.to(device),
            labels=self.labels.to(device),
            position_ids=None if self.position_ids is None else self.position_ids.to(device),
        )

    def without_labels(self) -> Batch:
        """Returns the batch as one that counts for nothing: its loss and its gradients are zero."""
        return replace(self, labels=torch.full_like(self.labels, IGNORED_LABEL), indices=())


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
        self.label_lengths = lengths - self.label_start
        self._ids = frame["example_id"].to_numpy()
        self._words = frame["word"].to_numpy() if "word" in frame else None

    def __len__(self) -> int:
        return len(self.label_start)

    def names(self, indices: Sequence[int], limit: int = 10) -> str:
        """Returns ids and words of examples for an error message, the first few of them."""
        shown = [
            str(self._ids[i]) if self._words is None else f"{self._ids[i]} ({self._words[i]})" for i in indices[:limit]
        ]
        return ", ".join(shown) + (f" and {len(indices) - limit} more" if len(indices) > limit else "")

    def label_rows(self) -> np.ndarray:
        """Returns the rows that occur in a label, ascending."""
        return np.unique(self.rows[self._is_label()])

    def labelled_outside(self, rows: np.ndarray) -> np.ndarray:
        """Returns the indices of those examples whose label holds a row that is not among ``rows``."""
        outside = self._is_label() & ~np.isin(self.rows, rows)
        return np.unique(np.repeat(np.arange(len(self)), self.lengths)[outside])

    def _is_label(self) -> np.ndarray:
        positions = np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], self.lengths)
        is_label: np.ndarray = positions >= np.repeat(self.label_start, self.lengths)
        return is_label

    def batch(self, indices: Sequence[int]) -> Batch:
        """Returns the examples at ``indices`` as one batch, a row each, padded to the longest."""
        width = int(self.lengths[list(indices)].max())
        ids = np.zeros((len(indices), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        labels = np.full_like(ids, IGNORED_LABEL)
        for i, index in enumerate(indices):
            row = self.rows[self.offsets[index] : self.offsets[index + 1]]
            ids[i, : len(row)], mask[i, : len(row)] = row, 1
            labels[i, self.label_start[index] : len(row)] = row[self.label_start[index] :]
        return Batch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(labels), indices=tuple(indices))

    def packed_batch(self, indices: Sequence[int], row_tokens: int | None) -> Batch:
        """Returns the examples at ``indices`` end to end in as few rows as will do, positions restarting at each.

        Padding at the end of a row is a run of positions 0, so that each pad is an example of its own to the attention.

        Args:
            indices: The examples.
            row_tokens: Longest row; an example longer than that has a row to itself. ``None`` makes one row.
        """
        rows = pack([int(self.lengths[i]) for i in indices], row_tokens)
        width = max(sum(int(self.lengths[indices[i]]) for i in row) for row in rows)
        ids = np.zeros((len(rows), width), dtype=np.int64)
        positions = np.zeros_like(ids)
        labels = np.full_like(ids, IGNORED_LABEL)
        for r, members in enumerate(rows):
            at = 0
            for index in (indices[i] for i in members):
                row = self.rows[self.offsets[index] : self.offsets[index + 1]]
                ids[r, at : at + len(row)], positions[r, at : at + len(row)] = row, np.arange(len(row))
                labels[r, at + self.label_start[index] : at + len(row)] = row[self.label_start[index] :]
                at += len(row)
        return Batch(torch.from_numpy(ids), None, torch.from_numpy(labels), torch.from_numpy(positions), tuple(indices))


def pack(lengths: Sequence[int], capacity: int | None) -> list[list[int]]:
    """Returns which items share a row, by first-fit decreasing, so that no row of several exceeds ``capacity``.

    First-fit decreasing needs at most 11/9 of the fewest rows possible, and one (Dósa, 2007).
    """
    if capacity is None:
        return [list(range(len(lengths)))]
    rows: list[list[int]] = []
    free: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((r for r, room in enumerate(free) if room >= lengths[item]), None)
        if row is None:
            rows.append([item])
            free.append(capacity - lengths[item])
        else:
            rows[row].append(item)
            free[row] -= lengths[item]
    return rows


@dataclass(frozen=True)
class Step:
    """What one optimiser step is taken on.

    Attributes:
        batches: This device's share of each batch.
        indices: The examples of the whole step, over all devices.
        label_tokens: Their label tokens: what the sum of losses is divided by, on each device.
    """

    batches: tuple[Batch, ...]
    indices: tuple[int, ...]
    label_tokens: int

    def to(self, device: Any) -> Step:
        """Returns the step on another device."""
        return replace(self, batches=tuple(batch.to(device) for batch in self.batches))


class AnswerData(pl.LightningDataModule):
    """Encoded examples, one item an optimiser step, for ever; its state is the number of steps done.

    Each batch is dealt out over the devices example by example, so that they do alike work and the step is the same as
    that of one device.

    Args:
        examples: What to train on.
        settings: Batch size, accumulation, seed and batching.
        row_tokens: Longest row of packed examples; ``None`` for one row a batch.
    """

    def __init__(self, examples: EncodedExamples, settings: TrainingSettings, row_tokens: int | None = None) -> None:
        super().__init__()
        self.examples = examples
        self.settings = settings
        self.row_tokens = row_tokens
        self.first_step = 0

    def train_dataloader(self) -> DataLoader[Step]:
        """Returns the loader of steps."""
        return DataLoader(_Steps(self), batch_size=None)

    def transfer_batch_to_device(self, batch: Step, device: Any, dataloader_idx: int) -> Step:
        """Moves each batch of a step."""
        return batch.to(device)

    def state_dict(self) -> dict[str, Any]:
        """Returns how far the run has come in the data."""
        return {"steps": self.trainer.global_step if self.trainer else self.first_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resumes there."""
        self.first_step = int(state_dict["steps"])

    def share(self, indices: list[int], rank: int, devices: int) -> Batch:
        """Returns the part of a batch that falls to a device; one without a part gets labels that count for nothing."""
        mine = indices[rank::devices]
        packed = self.settings.batching == "packed"
        chosen = mine or indices[:1]
        batch = self.examples.packed_batch(chosen, self.row_tokens) if packed else self.examples.batch(chosen)
        return batch if mine else batch.without_labels()


class _Steps(IterableDataset[Step]):
    def __init__(self, data: AnswerData) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Step]:
        settings, examples = self.data.settings, self.data.examples
        sampler = StepSampler(
            examples.lengths,
            settings.batch_size,
            settings.grad_accum_steps,
            settings.seed,
            first_step=self.data.first_step,
        )
        rank, devices = (dist.get_rank(), dist.get_world_size()) if _is_distributed() else (0, 1)
        for step in sampler:
            indices = [index for batch in step for index in batch]
            yield Step(
                tuple(self.data.share(batch, rank, devices) for batch in step),
                tuple(indices),
                int(examples.label_lengths[indices].sum()),
            )


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
