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
from spelling_transfer.training.passes import Cutter

_BUCKET_STEPS = 16
"""Steps whose examples are sorted by length together: enough to save padding, few enough to keep the order random."""

_GROUP = 32
"""Neighbours in length that are in a step together: a pass of them has hardly any padding."""


class StepSampler:
    """Yields the examples of each optimiser step, for ever.

    Each epoch is a permutation drawn from the seed and the epoch's number. A step holds groups of neighbours in length
    from all over the lengths; which examples it holds depends on its size alone, not on how it is cut into passes.

    Args:
        lengths: Tokens of each example.
        step_size: Examples a step.
        seed: The order's seed.
        first_step: Steps to pass over, when a run is resumed.
    """

    def __init__(self, lengths: np.ndarray, step_size: int, seed: int, first_step: int = 0) -> None:
        self.lengths = lengths
        self.step_size = min(step_size, len(lengths))
        self.seed = seed
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[int]]:
        epochs = chain.from_iterable(self._epoch(epoch) for epoch in count())
        return islice(epochs, self.first_step, None)

    def _epoch(self, epoch: int) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        for start in range(0, len(order), self.step_size * _BUCKET_STEPS):
            bucket = order[start : start + self.step_size * _BUCKET_STEPS]
            bucket = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            groups = [bucket[i : i + _GROUP] for i in range(0, len(bucket), _GROUP)]
            # Short and long groups alternate, else the length would follow the step number.
            mixed = np.concatenate([groups[i] for i in rng.permutation(len(groups))])
            for i in range(0, len(mixed), self.step_size):
                yield mixed[i : i + self.step_size].tolist()


class TrainingDataError(SpellingTransferError):
    """The encoded examples cannot be trained on."""


@dataclass(frozen=True)
class Batch:
    """The examples of one pass, right-padded. Attention looks back only, so what is padded is never looked at.

    Attributes:
        input_ids: Embedding rows, shape ``(rows, sequence)``.
        places: For each label, the place of the state that predicts it among all ``rows * sequence``, shape
            ``(labels,)``.
        targets: The row each of them is to predict, -100 for none, same shape.
        position_ids: Where rows hold several examples, the position of each token in its own, shape of ``input_ids``.
    """

    input_ids: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    position_ids: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on another device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=True),
            places=self.places.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            position_ids=None if self.position_ids is None else self.position_ids.to(device, non_blocking=True),
        )

    def without_labels(self) -> Batch:
        """Returns the batch as one that counts for nothing: its loss and its gradients are zero."""
        return replace(self, targets=torch.full_like(self.targets, IGNORED_LABEL))


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

    def labelled_outside(self, rows: np.ndarray) -> np.ndarray:
        """Returns the indices of those examples whose label holds a row that is not among ``rows``."""
        places = np.arange(len(self.rows)) - np.repeat(self.offsets[:-1], self.lengths)
        is_label = places >= np.repeat(self.label_start, self.lengths)
        outside = is_label & ~np.isin(self.rows, rows)
        return np.unique(np.repeat(np.arange(len(self)), self.lengths)[outside])

    def batch(self, indices: Sequence[int], *, rows: int = 0, width: int = 0, labels: int = 0) -> Batch:
        """Returns the examples at ``indices`` as one batch, a row each, padded to the longest.

        Args:
            indices: The examples.
            rows: Rows to fill up to, with padding.
            width: Tokens to fill up to.
            labels: Labels to fill up to, with some that count for nothing.
        """
        chosen = np.asarray(indices)
        lengths = self.lengths[chosen]
        width = max(width, int(lengths.max()))
        ids = np.zeros((max(rows, len(chosen)), width), dtype=np.int64)
        column = np.arange(width)
        held = column < lengths[:, None]
        ids[: len(chosen)][held] = self.rows[(self.offsets[chosen][:, None] + column)[held]]
        row, at = np.nonzero(held & (column >= self.label_start[chosen][:, None]))
        # The state at a place predicts the token after it.
        return _batch(ids, row * width + at - 1, ids[row, at], labels)

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
        places: list[np.ndarray] = []
        for r, members in enumerate(rows):
            at = 0
            for index in (indices[i] for i in members):
                row = self.rows[self.offsets[index] : self.offsets[index + 1]]
                ids[r, at : at + len(row)], positions[r, at : at + len(row)] = row, np.arange(len(row))
                places.append(r * width + at + np.arange(self.label_start[index], len(row)) - 1)
                at += len(row)
        at_labels = np.concatenate(places)
        return _batch(ids, at_labels, ids.ravel()[at_labels + 1], positions=positions)


def _batch(
    ids: np.ndarray, places: np.ndarray, targets: np.ndarray, labels: int = 0, positions: np.ndarray | None = None
) -> Batch:
    missing = max(0, labels - len(places))
    # Places of labels that count for nothing differ, so that their gradients, all zero, do not wait for each other.
    places = np.concatenate([places, np.arange(missing) % ids.size])
    targets = np.concatenate([targets, np.full(missing, IGNORED_LABEL)])
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(places),
        torch.from_numpy(targets),
        None if positions is None else torch.from_numpy(positions),
    )


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
        passes: This device's share of each pass.
        indices: The examples of the whole step, over all devices.
        label_tokens: Their label tokens: what the sum of losses is divided by, on each device.
        cut: How it was cut.
    """

    passes: tuple[Batch, ...]
    indices: tuple[int, ...]
    label_tokens: int
    cut: Any = None

    def to(self, device: Any) -> Step:
        """Returns the step on another device."""
        return replace(self, passes=tuple(batch.to(device) for batch in self.passes))


class AnswerData(pl.LightningDataModule):
    """Encoded examples, one item an optimiser step, for ever.

    Each pass is dealt out over the devices example by example, so that they do alike work and the step is the same as
    that of one device.

    Args:
        examples: What to train on.
        settings: Size of a step, seed and batching.
        row_tokens: Longest row of packed examples; ``None`` for one row a pass.
    """

    def __init__(self, examples: EncodedExamples, settings: TrainingSettings, row_tokens: int | None = None) -> None:
        super().__init__()
        self.examples = examples
        self.settings = settings
        self.row_tokens = row_tokens
        self.first_step = 0
        """Steps that a resumed run has done before."""
        self.cutter = Cutter()
        self.shapes: Shapes | None = None
        """Where passes are filled up to fixed shapes: which."""

    def train_dataloader(self) -> DataLoader[Step]:
        """Returns the loader of steps."""
        return DataLoader(_Steps(self), batch_size=None)

    def transfer_batch_to_device(self, batch: Step, device: Any, dataloader_idx: int) -> Step:
        """Leaves a step where it is: the module moves it when it has been cut for good."""
        return batch

    def sampler(self) -> StepSampler:
        """Returns the steps that are still to be taken, as the examples that each holds."""
        settings = self.settings
        size = settings.batch_size * settings.grad_accum_steps
        return StepSampler(self.examples.lengths, size, settings.seed, self.first_step)

    def steps_ahead(self) -> Iterator[list[int]]:
        """Yields the examples of each step that is still to be taken."""
        return islice(self.sampler(), self.settings.max_steps - self.first_step)

    def step(self, indices: Sequence[int]) -> Step:
        """Cuts a step into passes, as the cutter has it now, and takes this device's share of each."""
        is_one_of_many = dist.is_available() and dist.is_initialized()
        rank, devices = (dist.get_rank(), dist.get_world_size()) if is_one_of_many else (0, 1)
        chosen = np.asarray(indices)
        return Step(
            tuple(self._share(chosen[part], rank, devices) for part in self.cutter.cut(self.examples.lengths[chosen])),
            tuple(indices),
            int(self.examples.label_lengths[chosen].sum()),
            self._cut(),
        )

    def is_cut(self, step: Step) -> bool:
        """Says whether a step is cut as steps are cut now: a loader cuts one ahead."""
        return bool(step.cut == self._cut())

    def _cut(self) -> Any:
        return self.cutter.tokens, self.cutter.widths, self.shapes

    def _share(self, indices: np.ndarray, rank: int, devices: int) -> Batch:
        # A device without a part gets labels that count for nothing.
        mine = indices[rank::devices].tolist()
        chosen = mine or indices[:1].tolist()
        if self.settings.batching == "packed":
            batch = self.examples.packed_batch(chosen, self.row_tokens)
        elif self.shapes is not None:
            width = self.cutter.width(int(self.examples.lengths[chosen].max()))
            batch = self.examples.batch(chosen, rows=self.shapes.rows, width=width, labels=self.shapes.labels[width])
        else:
            batch = self.examples.batch(chosen)
        return batch if mine else batch.without_labels()


@dataclass(frozen=True)
class Shapes:
    """The few shapes that passes are filled up to.

    Attributes:
        rows: Rows of a pass.
        labels: Labels of a pass of each width.
    """

    rows: int
    labels: dict[int, int]

    @classmethod
    def of(cls, data: AnswerData) -> Shapes:
        """Returns what the passes of a whole run need, as its cutter cuts them."""
        lengths, labels = data.examples.lengths, data.examples.label_lengths
        rows, most = 0, dict.fromkeys(data.cutter.widths, 0)
        for step in data.steps_ahead():
            for part in data.cutter.cut(lengths[step]):
                chosen = np.asarray(step)[part]
                width = data.cutter.width(int(lengths[chosen].max()))
                rows, most[width] = max(rows, len(chosen)), max(most[width], int(labels[chosen].sum()))
        return cls(rows, {width: -(-n // LABEL_STEP) * LABEL_STEP for width, n in most.items() if n})

    def all(self) -> list[tuple[int, int, int]]:
        """Returns rows, width and labels of each, the largest first."""
        return [(self.rows, width, self.labels[width]) for width in sorted(self.labels, reverse=True)]


LABEL_STEP = 64
"""Labels of a pass are filled up to a multiple of this, as the matrix units of a GPU like them."""


class _Steps(IterableDataset[Step]):
    def __init__(self, data: AnswerData) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Step]:
        return map(self.data.step, self.data.sampler())
