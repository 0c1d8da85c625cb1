"""The LightningModule: answer-only loss, normalised by the label tokens of the whole step."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import answer_only_loss, is_frozen_matrix
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.datamodule import Step
from spelling_transfer.training.errors import TrainingDivergedError
from spelling_transfer.training.metrics import StepStatistics
from spelling_transfer.training.optimization import make_optimizer, make_schedule
from spelling_transfer.training.parallel import Sharded, gathered, shard, without_weights

__all__ = ["AnswerModule", "TrainingDivergedError"]


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
        """Takes up the losses and the random state where the checkpoint left them."""
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
            return  # on another number of devices the run goes on, with other dropout
        mine = states[self.trainer.global_rank]
        torch.set_rng_state(mine["cpu"].cpu())
        if "cuda" in mine and self.device.type == "cuda":
            torch.cuda.set_rng_state(mine["cuda"].cpu(), self.device)
        if "mps" in mine and self.device.type == "mps":
            torch.mps.set_rng_state(mine["mps"].cpu())


class _GradientDivergedError(Exception):
    """Ends a step before the weights are touched."""
