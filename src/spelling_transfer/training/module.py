"""The LightningModule: answer-only loss, normalised by the label tokens of the whole step."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import IGNORED_LABEL, answer_only_loss
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import Batch
from spelling_transfer.training.metrics import StepStatistics


class TrainingDivergedError(SpellingTransferError):
    """The loss is no longer a number."""


class AnswerModule(pl.LightningModule):
    """Trains what is trainable in a model on answers alone.

    Args:
        loaded: The model, with its adapter attached.
        settings: How to train.
        subset_rows: Rows of the token subset the softmax runs over, ascending; ``None`` for all rows.
        fingerprint: Identity of the run, kept in its checkpoints.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: TrainingSettings,
        subset_rows: torch.Tensor | None = None,
        fingerprint: str = "",
    ) -> None:
        super().__init__()
        self.strict_loading = False  # checkpoints hold what is trained, not the base
        # A step is several batches whose sum of losses is divided by their label tokens once: gradient accumulation
        # by Lightning would divide each batch by its own.
        self.automatic_optimization = False
        self.model = loaded.model
        self.settings = settings
        self.register_buffer("subset_rows", subset_rows, persistent=False)
        self.fingerprint = fingerprint
        self.losses: list[float] = []
        self.statistics = StepStatistics(math.nan, math.nan, math.nan, 0, 0)
        self._random_state: torch.Tensor | None = None

    def configure_optimizers(self) -> Any:
        """Returns AdamW over the trainable parameters with warm-up and the schedule of the settings."""
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            trainable, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay, fused=True
        )
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self._learning_rate_factor)]

    def _learning_rate_factor(self, step: int) -> float:
        settings = self.settings
        if step < settings.warmup_steps:
            return (step + 1) / settings.warmup_steps
        progress = (step - settings.warmup_steps) / max(1, settings.max_steps - settings.warmup_steps)
        if settings.schedule == "linear":
            return max(0.0, 1.0 - progress)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))) if settings.schedule == "cosine" else 1.0

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        """Takes one optimiser step on the batches of a step.

        Raises:
            TrainingDivergedError: The loss is NaN or infinite.
        """
        if self._random_state is not None:
            # Not at loading: the data loader draws a number of its own before the first step.
            torch.set_rng_state(self._random_state)
            self._random_state = None
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()  # type: ignore[union-attr]
        labels = sum(int((batch.labels != IGNORED_LABEL).sum()) for batch in batches)
        total = 0.0
        for batch in batches:
            loss = answer_only_loss(
                self.model,
                batch.input_ids,
                batch.attention_mask,
                batch.labels,
                subset_rows=self.subset_rows,  # type: ignore[arg-type]
            )
            loss = loss / labels
            self.manual_backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise TrainingDivergedError(
                f"The loss is {total} at step {self.global_step} (learning_rate {self.settings.learning_rate}). "
                "Lower 'learning_rate' or raise 'warmup_steps'."
            )
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        grad_norm = float(torch.nn.utils.clip_grad_norm_(trainable, self.settings.max_grad_norm))
        learning_rate = optimizer.param_groups[0]["lr"]  # type: ignore[union-attr]
        optimizer.step()  # type: ignore[union-attr]
        scheduler.step()  # type: ignore[union-attr]
        self.losses.append(total)
        self.statistics = StepStatistics(
            total, grad_norm, learning_rate, sum(len(batch.input_ids) for batch in batches), labels
        )

    def transfer_batch_to_device(self, batch: list[Batch], device: torch.device, dataloader_idx: int) -> list[Batch]:
        """Moves each batch of a step."""
        return [b.to(device) for b in batch]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves the base weights out and adds what an exact continuation needs."""
        trained = {f"model.{name}" for name, p in self.model.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint["losses"] = list(self.losses)
        checkpoint["random_state"] = torch.get_rng_state()
        checkpoint["fingerprint"] = self.fingerprint

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the losses and the random state where the checkpoint left them."""
        self.losses = list(checkpoint["losses"])
        self._random_state = checkpoint["random_state"].cpu()
