"""The LightningDataModule: one item a step, from the place the run has reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset

from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import Batch, EncodedExamples
from spelling_transfer.training.order import StepSampler


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
        """Goes on from there."""
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
