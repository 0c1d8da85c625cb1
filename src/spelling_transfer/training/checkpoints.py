"""Checkpoints of a training run: what is trained, the optimiser, the place in the data; no base weights."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.training.config import TrainingSettings

if TYPE_CHECKING:
    from spelling_transfer.training.data import EncodedExamples

_LOGGER = logging.getLogger(__name__)
_KEPT = 2
_NOT_OF_THE_RESULT = {"log_every_steps"}
"""Settings that may differ between a run and the one that takes it up again."""


class CheckpointError(SpellingTransferError):
    """A checkpoint belongs to another run."""


@dataclass(frozen=True)
class Checkpoints:
    """Where a run keeps its checkpoints and how often it writes one.

    Attributes:
        folder: A folder of this run alone. A checkpoint found there is resumed from.
        every_steps: Optimiser steps between checkpoints. SIGTERM and exceptions write one at once.
    """

    folder: Path
    every_steps: int = 100


def checkpoint_callback(checkpoints: Checkpoints) -> ModelCheckpoint:
    """Returns Lightning's callback, set to keep the last two. Files appear whole or not at all."""
    return ModelCheckpoint(
        dirpath=checkpoints.folder,
        filename="{step}",
        every_n_train_steps=checkpoints.every_steps,
        monitor="step",
        mode="max",
        save_top_k=_KEPT,
        save_on_exception=True,
        enable_version_counter=False,
    )


def fingerprint(settings: TrainingSettings, examples: EncodedExamples, trainable: list[str]) -> str:
    """Returns a hash of everything that must be equal for a run to be resumed."""
    digest = hashlib.sha256(settings.model_dump_json(exclude=_NOT_OF_THE_RESULT).encode())
    digest.update("\n".join(trainable).encode())
    for array in (examples.rows, examples.offsets, examples.label_start):
        digest.update(array.tobytes())
    return digest.hexdigest()


def latest_checkpoint(checkpoints: Checkpoints, expected_fingerprint: str) -> tuple[Path, int] | None:
    """Returns the newest readable checkpoint and its step; a damaged one is skipped with a warning.

    Raises:
        CheckpointError: The checkpoint is of a run with other settings, data or layers.
    """
    found = [
        (int(match[1]), file)
        for file in checkpoints.folder.glob("*.ckpt")
        if (match := re.search(r"step=(\d+)", file.name))
    ]
    for _, file in sorted(found, reverse=True):
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            step, its_fingerprint = int(state["global_step"]), state["fingerprint"]
        except Exception as error:  # noqa: BLE001  (a file cut short fails in many ways inside torch and zipfile)
            _LOGGER.warning("%s: damaged (%s); going on from the checkpoint before it.", file, type(error).__name__)
            continue
        if its_fingerprint != expected_fingerprint:
            raise CheckpointError(
                f"{file}: belongs to a run with other settings, examples or layers, so it cannot be resumed. Give this "
                f"run a folder of its own, or remove {checkpoints.folder}."
            )
        return file, step
    return None
