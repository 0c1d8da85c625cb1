"""The LightningModule: answer-only loss, normalised by the label tokens of the whole step; optimisers and schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import pytorch_lightning as pl
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import answer_only_loss, is_frozen_matrix
from spelling_transfer.training.callbacks import StepStatistics
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import Step
from spelling_transfer.training.errors import DeviceError, TrainingDivergedError
from spelling_transfer.training.parallel import Sharded, gathered, shard, without_weights


class AnswerModule(pl.LightningModule):
    """Trains what is trainable in a model on answers alone.

    Args:
        loaded: The model, with its adapter attached.
        settings: How to train.
        subset_rows: Rows of the token subset the softmax runs over, ascending; ``None`` for all rows.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: TrainingSettings,
        subset_rows: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # checkpoints hold what is trained, not the base
        # A step is several batches whose sum of losses is divided by their label tokens once: gradient accumulation
        # by Lightning would divide each batch by its own.
        self.automatic_optimization = False
        self.model = loaded.model
        self.settings = settings
        self.register_buffer("subset_rows", subset_rows, persistent=False)
        self.fingerprint = ""
        """Identity of the run, kept in its checkpoints."""
        self.losses: list[float] = []
        self.statistics = StepStatistics(math.nan, math.nan, math.nan, 0, 0)
        self._grad_norm = math.nan
        self.__dict__["_plain"] = None  # not a submodule: it is no part of what is trained
        self._subset_weight: torch.Tensor | None = None
        self._random_states: list[dict[str, torch.Tensor]] | None = None

    def trainable(self) -> list[torch.nn.Parameter]:
        """Returns the parameters that are trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def configure_model(self) -> None:
        """Spreads the parameters over the devices, where the strategy is to hold a part on each."""
        if isinstance(self.trainer.strategy, Sharded) and self._plain is None:
            self.__dict__["_plain"] = without_weights(self.model)
            shard(self.model, self.device_mesh, over_subset=self.subset_rows is not None)

    def make_whole(self) -> Any:
        """Returns the model, whole again where it was spread over the devices."""
        if self._plain is not None:
            self.model = gathered(self.model, self._plain)
            self.__dict__["_plain"] = None
        self._subset_weight = None
        return self.model

    def on_train_start(self) -> None:
        """Gathers the subset's rows of a head that is not trained once: at each step it takes longer than the loss."""
        head = self.model.get_output_embeddings()
        if self.subset_rows is not None and is_frozen_matrix(head):
            self._subset_weight = head.weight.detach()[self.subset_rows]

    def configure_optimizers(self) -> Any:
        """Returns the optimiser over the trainable parameters and the schedule of the settings."""
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        parameters = self.trainable()
        # Sharded parameters (DTensor) have no fused step on every device.
        sharded = any(type(p.data) is not torch.Tensor for p in parameters)
        optimizer = make_optimizer(parameters, self.settings, fused=not scaled and not sharded)
        return [optimizer], [make_schedule(optimizer, self.settings)]

    def training_step(self, step: Step, batch_idx: int) -> None:
        """Takes one optimiser step on the batches of a step.

        Raises:
            TrainingDivergedError: The loss or the gradient is NaN or infinite; the weights are those of the step
                before.
        """
        self._restore_random_state()
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()  # type: ignore[union-attr]
        # Each device divides by the labels of all; what averages their gradients divides by their number once more.
        scale = self.trainer.world_size
        total = torch.zeros((), device=self.device)
        for batch in step.batches:
            loss = answer_only_loss(
                self.model,
                batch.input_ids,
                batch.attention_mask,
                batch.labels,
                subset_rows=self.subset_rows,  # type: ignore[arg-type]
                subset_weight=self._subset_weight,
                position_ids=batch.position_ids,
                logits_mb=self.settings.logits_mb,
                kernel=self.settings.head,
            )
            loss = loss / step.label_tokens
            self.manual_backward(loss * scale if scale > 1 else loss)
            total += loss.detach()
        mean_loss = float(self.trainer.strategy.reduce(total, reduce_op="sum"))
        if not math.isfinite(mean_loss):
            raise self._diverged("loss", mean_loss, step)
        learning_rate = optimizer.param_groups[0]["lr"]  # type: ignore[union-attr]
        try:
            optimizer.step()  # type: ignore[union-attr]
        except _GradientDivergedError as error:
            raise self._diverged("gradient's norm", self._grad_norm, step) from error
        scheduler.step()  # type: ignore[union-attr]
        self.losses.append(mean_loss)
        self.statistics = StepStatistics(
            mean_loss, self._grad_norm, learning_rate, len(step.indices), step.label_tokens
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips the gradients; Lightning calls this after a gradient scaler has taken its scale out."""
        # From the optimiser: to walk through all modules at each step would take longer than to clip.
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, self.settings.max_grad_norm)
        self._grad_norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if not math.isfinite(self._grad_norm) and not scaled:  # a scaler passes over such a step and lowers its scale
            raise _GradientDivergedError

    def _diverged(self, what: str, value: float, step: Step) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"The {what} is {value} at step {self.global_step} (learning_rate {self.settings.learning_rate}). "
            "Lower 'learning_rate' or raise 'warmup_steps'.",
            step.indices,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves the base weights out and adds what an exact continuation needs."""
        trained = {f"model.{name}" for name, p in self.model.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint["losses"] = list(self.losses)
        checkpoint["random_states"] = self._random_states_of_all()
        checkpoint["fingerprint"] = self.fingerprint

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Resumes the losses and the random state of the checkpoint."""
        self.losses = list(checkpoint["losses"])
        self._random_states = checkpoint["random_states"]

    def _random_states_of_all(self) -> list[dict[str, torch.Tensor]]:
        mine = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            mine["cuda"] = torch.cuda.get_rng_state(self.device)
        elif self.device.type == "mps":
            mine["mps"] = torch.mps.get_rng_state()
        if self.trainer.world_size == 1:
            return [mine]
        states: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(states, mine)
        return states

    def _restore_random_state(self) -> None:
        # Not at loading: the data loader draws a number of its own before the first step.
        states, self._random_states = self._random_states, None
        if states is None or len(states) != self.trainer.world_size:
            return  # a run on another number of devices is resumed with other dropout
        mine = states[self.trainer.global_rank]
        torch.set_rng_state(mine["cpu"].cpu())
        if "cuda" in mine and self.device.type == "cuda":
            torch.cuda.set_rng_state(mine["cuda"].cpu(), self.device)
        if "mps" in mine and self.device.type == "mps":
            torch.mps.set_rng_state(mine["mps"].cpu())


class _GradientDivergedError(Exception):
    """Ends a step before the weights are touched."""


_DECAY_SHARE = 0.2
"""Share of the steps after the warm-up in which ``warmup_stable_decay`` falls (Hägele et al., 2024, use 10-20%)."""


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], settings: TrainingSettings, *, fused: bool
) -> torch.optim.Optimizer:
    """Returns the optimiser of the settings over the trainable parameters.

    Args:
        parameters: What is trained.
        settings: Which optimiser, its learning rate and weight decay.
        fused: Whether AdamW may use its fused kernel; a gradient scaler needs to see gradients the kernel hides.

    Raises:
        DeviceError: ``adamw_8bit`` without CUDA or without bitsandbytes.
    """
    parameters = list(parameters)
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=settings.momentum)
    if settings.optimizer == "adafactor":
        return torch.optim.Adafactor(parameters, lr=rate, weight_decay=decay)
    if settings.optimizer == "adamw_8bit":
        return _adamw_8bit(parameters, rate, decay)
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=fused)


def _adamw_8bit(parameters: list[torch.nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
    if not torch.cuda.is_available():
        raise DeviceError("training.optimizer: adamw_8bit needs CUDA, which is not here. Set it to 'adamw'.")
    try:
        bitsandbytes = import_module("bitsandbytes")
    except ImportError as error:
        raise DeviceError(
            "training.optimizer: adamw_8bit needs bitsandbytes (pip install 'spelling-transfer[cuda]'), or set it to "
            "'adamw'."
        ) from error
    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, lr=rate, weight_decay=decay)
    return optimizer


def make_schedule(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Any:
    """Returns the schedule of the settings, to be stepped after each optimiser step.

    ``linear``, ``cosine`` and ``constant`` warm up from 1/``warmup_steps`` of the peak, so that no step is wasted; the
    others are transformers' own, whose first step of a warm-up has a rate of zero.
    """
    if settings.schedule in ("linear", "cosine", "constant"):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(settings, step))
    from transformers import get_scheduler

    specific: dict[str, Any] = {}
    if settings.schedule == "warmup_stable_decay":
        after = max(1, settings.max_steps - settings.warmup_steps)
        specific = {"num_decay_steps": max(1, round(_DECAY_SHARE * after))}
    return get_scheduler(
        settings.schedule,
        optimizer,
        num_warmup_steps=settings.warmup_steps,
        num_training_steps=settings.max_steps,
        scheduler_specific_kwargs=specific,
    )


def learning_rate_factor(settings: TrainingSettings, step: int) -> float:
    """Returns the share of the peak learning rate after ``step`` steps, for the schedules of our own."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.max_steps - settings.warmup_steps)
    if settings.schedule == "linear":
        return max(0.0, 1.0 - progress)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))) if settings.schedule == "cosine" else 1.0
