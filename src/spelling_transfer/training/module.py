"""The LightningModule: answer-only loss, normalised by the label tokens of the whole step."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import pytorch_lightning as pl
import torch

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import DEFAULT_LOGITS_MB, is_frozen_matrix, loss_at
from spelling_transfer.training.callbacks import StepStatistics
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.copies import ComputeCopies
from spelling_transfer.training.data import AnswerData, Batch, Step
from spelling_transfer.training.errors import TrainingDivergedError, is_out_of_memory
from spelling_transfer.training.ledger import Ledger
from spelling_transfer.training.optimizers import make_optimizer, make_schedule, rate_of
from spelling_transfer.training.parallel import Sharded, gathered, shard, without_weights
from spelling_transfer.training.plan import make_static, plan_passes, prepare_static, why_not_static
from spelling_transfer.training.static import StaticStep

_LOGGER = logging.getLogger(__name__)


class AnswerModule(pl.LightningModule):
    """Trains what is trainable in a model on answers alone.

    On one GPU a step has few fixed shapes and is captured (`StaticStep`); elsewhere it runs as it is.

    Args:
        loaded: The model, with its adapter attached.
        settings: How to train.
        subset_rows: Rows of the token subset the softmax runs over, ascending; ``None`` for all rows.
    """

    subset_rows: torch.Tensor | None

    def __init__(
        self,
        loaded: LoadedModel,
        settings: TrainingSettings,
        subset_rows: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.strict_loading = False  # checkpoints hold what is trained, not the base
        # A step is several passes whose sum of losses is divided by their label tokens once: gradient accumulation
        # by Lightning would divide each pass by its own.
        self.automatic_optimization = False
        self.model, self._came_from = loaded.model, loaded.device
        self.settings = settings
        self.register_buffer("subset_rows", subset_rows, persistent=False)
        self.fingerprint = ""
        """Identity of the run, kept in its checkpoints."""
        self.losses: list[float] = []
        self.ledger = Ledger()
        self.step_size = 0, 0
        """Examples and label tokens of the last step."""
        self._grad_norm = math.nan
        self.__dict__["_plain"] = None  # not a submodule: it is no part of what is trained
        self._subset_weight: torch.Tensor | None = None
        self._random_states: list[dict[str, torch.Tensor]] | None = None
        self.static: StaticStep | None = None
        self.copies: ComputeCopies | None = None
        self.logits_mb = settings.logits_mb or DEFAULT_LOGITS_MB
        """Largest block of logits; on a GPU the run sets it by free memory where the settings leave it open."""

    @property
    def statistics(self) -> StepStatistics:
        """What the last step measured; a step that still runs is waited for.

        Raises:
            TrainingDivergedError: It has no number for its loss or its gradient.
        """
        self.settle()
        return self.ledger.last

    def trainable(self) -> list[torch.nn.Parameter]:
        """Returns the parameters that are trained."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def configure_model(self) -> None:
        """Spreads the parameters over the devices, where the strategy is to hold a part on each."""
        if isinstance(self.trainer.strategy, Sharded) and self._plain is None:
            self.__dict__["_plain"] = without_weights(self.model)
            shard(self.model, self.device_mesh, over_subset=self.subset_rows is not None)

    def cpu(self) -> Self:
        """Leaves the model where it came from; Lightning, at the end of a run, would leave it in main memory."""
        self.release()  # the originals of copies are no part of the model until then
        return self if self.device.type == self._came_from.type else self.to(self._came_from)

    def release(self) -> None:
        """Lets go of what was made for the steps of a run; the model has its own weights again."""
        if self.static is not None:
            self.static.free()
            self.static = None
        if self.copies is not None:
            self.copies.remove()
            self.copies = None
        self._subset_weight = None

    def make_whole(self) -> Any:
        """Returns the model, whole again where it was spread over the devices."""
        if self._plain is not None:
            self.model = gathered(self.model, self._plain)
            self.__dict__["_plain"] = None
        return self.model

    def on_train_start(self) -> None:
        """Gathers the subset's rows of a head that is not trained once, and settles how steps are cut and run."""
        head = self.model.get_output_embeddings()
        if self.subset_rows is not None and is_frozen_matrix(head):
            self._subset_weight = head.weight.detach()[self.subset_rows]
        if self.device.type == "cuda":
            plan_passes(self)
            reason = why_not_static(self)
            if reason is None:
                self.copies, self.static = make_static(self, capture=self.settings.cuda_graphs)
            else:
                _LOGGER.info("Steps run kernel by kernel: %s.", reason)

    def configure_optimizers(self) -> Any:
        """Returns the optimiser over the trainable parameters and the schedule of the settings."""
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        parameters = self.trainable()
        # Sharded parameters (DTensor) have no fused step on every device.
        sharded = any(type(p.data) is not torch.Tensor for p in parameters)
        optimizer = make_optimizer(parameters, self.settings, fused=not scaled and not sharded)
        return [optimizer], [make_schedule(optimizer, self.settings)]

    def training_step(self, step: Step, batch_idx: int) -> None:
        """Takes one optimiser step on the passes of a step.

        Raises:
            TrainingDivergedError: The loss or the gradient is NaN or infinite; the weights are those of the step
                before.
        """
        self._restore_random_state()
        data: AnswerData = self.trainer.datamodule  # type: ignore[attr-defined]
        while True:
            if not data.is_cut(step):  # it was cut ahead of a change
                step = data.step(step.indices)
            random_state = self._random_state()
            try:
                self._take(step)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or not self._can_cut(data, step):
                    raise
            else:
                return
            torch.cuda.empty_cache()
            self._set_random_state(random_state)

    def _can_cut(self, data: AnswerData, step: Step) -> bool:
        tokens = max(batch.input_ids.numel() for batch in step.passes)
        # Examples of a pass at most: packed, a row holds several; filled up to a fixed shape, a pass has more rows.
        examples = max(len(step.indices) - len(step.passes) + 1, *(len(batch.input_ids) for batch in step.passes))
        if self.trainer.world_size > 1 or not data.cutter.halve(examples, tokens):
            return False
        if self.static is not None:
            self.settle()
            prepare_static(self.static, data)
        return True

    def _take(self, step: Step) -> None:
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        learning_rate = rate_of(scheduler)
        self.step_size = len(step.indices), step.label_tokens
        ahead = StepStatistics(math.nan, math.nan, learning_rate)
        if self.static is not None:
            self.static.share.fill_(1.0 / step.label_tokens)
            for batch in step.passes:
                self.static.add(batch)
            optimizer.step()  # type: ignore[union-attr]
            scheduler.step()  # type: ignore[union-attr]
            self.ledger.enter(ahead, step.indices, self.static.outcome)
            self.settle(running=1)
            return
        optimizer.zero_grad()  # type: ignore[union-attr]
        loss = self._gradients_of(step.to(self.device))
        if not math.isfinite(loss):
            raise self._diverged("loss", loss, step.indices)
        try:
            optimizer.step()  # type: ignore[union-attr]
        except _GradientDivergedError as error:
            raise self._diverged("gradient's norm", self._grad_norm, step.indices) from error
        scheduler.step()  # type: ignore[union-attr]
        self.losses.append(loss)
        self.ledger.last = replace(ahead, loss=loss, grad_norm=self._grad_norm)

    def _gradients_of(self, step: Step) -> float:
        # Each device divides by the labels of all; what averages their gradients divides by their number once more.
        scale = self.trainer.world_size
        total = torch.zeros((), device=self.device)
        for batch in step.passes:
            loss = self.loss_of(batch) / step.label_tokens
            self.manual_backward(loss * scale if scale > 1 else loss)
            total += loss.detach()
        return float(self.trainer.strategy.reduce(total, reduce_op="sum"))

    def loss_of(self, batch: Batch) -> torch.Tensor:
        """Returns the sum of the losses of a pass."""
        return loss_at(
            self.model,
            batch.input_ids,
            batch.places,
            batch.targets,
            position_ids=batch.position_ids,
            subset_rows=self.subset_rows,
            subset_weight=self._subset_weight,
            logits_mb=self.logits_mb,
            kernel=self.settings.head,
        )

    def settle(self, running: int = 0) -> None:
        """Notes what steps measured, all but the last ``running``.

        Raises:
            TrainingDivergedError: One of them has no number for its loss or its gradient; those after it, which
                changed nothing, are taken back.
        """
        for statistics, indices, failed in self.ledger.arrived(running):
            if not failed:
                self.losses.append(statistics.loss)
                continue
            self._take_back(1 + self.ledger.forget())
            finite_loss = math.isfinite(statistics.loss)
            what, value = ("gradient's norm", statistics.grad_norm) if finite_loss else ("loss", statistics.loss)
            raise self._diverged(what, value, indices)

    def _take_back(self, steps: int) -> None:
        scheduler = self.lr_schedulers()
        scheduler.last_epoch -= steps  # type: ignore[union-attr]
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"].fill_(rate_of(scheduler))
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        progress.ready -= steps
        progress.completed -= steps

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clips the gradients; Lightning calls this after a gradient scaler has taken its scale out."""
        if self.static is not None:
            return
        # From the optimiser: to walk through all modules at each step would take longer than to clip.
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, self.settings.max_grad_norm)
        self._grad_norm = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if not math.isfinite(self._grad_norm) and not scaled:  # a scaler passes over such a step and lowers its scale
            raise _GradientDivergedError

    def _diverged(self, what: str, value: float, indices: Sequence[int]) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"The {what} is {value} at step {len(self.losses)} (learning_rate {self.settings.learning_rate}). "
            "Lower 'learning_rate' or raise 'warmup_steps'.",
            indices,
        )

    def on_train_end(self) -> None:
        """Waits for the last step."""
        self.settle()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves the base weights out and adds what an exact continuation needs."""
        self.settle()
        trained = {f"model.{name}" for name, p in self.model.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        if self.copies is not None:
            checkpoint["state_dict"] = {f"model.{name}": p.detach() for name, p in self.copies.names.items()}
        for group in (group for state in checkpoint["optimizer_states"] for group in state.get("param_groups", ())):
            group.update(lr=float(group["lr"]), **({"capturable": False} if "capturable" in group else {}))
        for schedule in checkpoint["lr_schedulers"]:
            schedule["_last_lr"] = [float(rate) for rate in schedule["_last_lr"]]
        checkpoint["losses"] = list(self.losses)
        checkpoint["random_states"] = self._random_states_of_all()
        checkpoint["fingerprint"] = self.fingerprint

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Resumes the losses and the random state of the checkpoint."""
        self.losses = list(checkpoint["losses"])
        self._random_states = checkpoint["random_states"]

    def _random_state(self) -> dict[str, torch.Tensor]:
        state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        elif self.device.type == "mps":
            state["mps"] = torch.mps.get_rng_state()
        return state

    def _set_random_state(self, state: dict[str, torch.Tensor]) -> None:
        torch.set_rng_state(state["cpu"].cpu())
        if "cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"].cpu(), self.device)
        if "mps" in state and self.device.type == "mps":
            torch.mps.set_rng_state(state["mps"].cpu())

    def _random_states_of_all(self) -> list[dict[str, torch.Tensor]]:
        mine = self._random_state()
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
        self._set_random_state(states[self.trainer.global_rank])


class _GradientDivergedError(Exception):
    """Ends a step before the weights are touched."""
