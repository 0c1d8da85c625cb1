"""Checkpoints of a training run: what is trained, the optimiser, the place in the data; no base weights."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import whole_file
from spelling_transfer.training.config import TrainingSettings

if TYPE_CHECKING:
    from spelling_transfer.training.data import EncodedExamples

_LOGGER = logging.getLogger(__name__)
_KEPT = 2
_NOT_OF_THE_RESULT = {"log_every_steps", "batch_size", "grad_accum_steps", "pass_tokens", "logits_mb", "cuda_graphs"}
"""Settings that may differ between a run and the one that resumes it; of the first two, the product may not."""
_OF_THE_ADAPTER = ("r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora")
_PROBED_VALUES = 64
"""Values of each frozen tensor by which base models are distinguished."""


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


class WholeFiles(TorchCheckpointIO):
    """Writes each checkpoint whole or not at all, and keeps the last two.

    Lightning's own writes to the machine's temporary folder first, from where a move may be a copy, and its callback
    does not count what it saved on an exception.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes the file; a failure leaves what was there before."""
        target = Path(path)
        with whole_file(target) as partial:
            torch.save(checkpoint, partial)
        # The new one is the newest, whatever the clock says: it may have been put back.
        by_age = sorted(_files(target.parent), key=lambda found: (found[1] == target, found[1].stat().st_mtime_ns))
        for _, old in by_age[:-_KEPT]:
            old.unlink(missing_ok=True)


def checkpoint_callback(checkpoints: Checkpoints) -> ModelCheckpoint:
    """Returns Lightning's callback, for files that `WholeFiles` writes."""
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


def fingerprint(
    settings: TrainingSettings, examples: EncodedExamples, model: Any, subset_rows: torch.Tensor | None = None
) -> str:
    """Returns a hash of all that must be equal to resume a run: settings, examples, token subset, adapter, base."""
    digest = hashlib.sha256(settings.model_dump_json(exclude=_NOT_OF_THE_RESULT).encode())
    digest.update(str(settings.batch_size * settings.grad_accum_steps).encode())
    named = list(model.named_parameters())
    digest.update("\n".join(name for name, p in named if p.requires_grad).encode())
    for adapter in getattr(model, "peft_config", {}).values():
        digest.update(repr([getattr(adapter, name) for name in _OF_THE_ADAPTER]).encode())
    # Where everything is trained, the weights at the start are the base.
    base = [p for _, p in named if not p.requires_grad] or [p for _, p in named]
    for parameter in base:
        some = parameter.detach().flatten()[:_PROBED_VALUES].float().cpu()
        digest.update(some.numpy().tobytes())
    subset = [] if subset_rows is None else [subset_rows.cpu().numpy()]
    for array in (examples.rows, examples.offsets, examples.label_start, *subset):
        digest.update(array.tobytes())
    return digest.hexdigest()


def latest_checkpoint(checkpoints: Checkpoints, expected_fingerprint: str) -> tuple[Path, int] | None:
    """Returns the newest readable checkpoint and its step; a damaged one is skipped with a warning.

    One whose weights are no numbers counts as damaged.

    Raises:
        CheckpointError: The checkpoint is of a run with other settings, data, adapter or another base.
    """
    for _, file in sorted(_files(checkpoints.folder), reverse=True):
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            step, its_fingerprint = int(state["global_step"]), state["fingerprint"]
            if not all(bool(tensor.isfinite().all()) for tensor in state["state_dict"].values()):
                raise FloatingPointError
        except Exception as error:  # noqa: BLE001  (a file cut short fails in many ways inside torch and zipfile)
            _LOGGER.warning("%s: damaged (%s); resuming from the checkpoint before it.", file, type(error).__name__)
            continue
        if its_fingerprint != expected_fingerprint:
            raise CheckpointError(
                f"{file}: belongs to a run with other settings, examples or adapter, or on another base model, so it "
                f"cannot be resumed. Give this run a folder of its own, or remove {checkpoints.folder}."
            )
        return file, step
    return None


def remove_partial_files(checkpoints: Checkpoints) -> None:
    """Removes what a killed process left half-written."""
    for partial in checkpoints.folder.glob(".*.ckpt.*.partial"):
        partial.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[tuple[int, Path]]:
    for file in folder.glob("*.ckpt"):
        if match := re.search(r"step=(\d+)", file.name):
            yield int(match[1]), file
