"""What happens between the steps of a run: what it reports of itself, progress, evaluation callbacks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import pytorch_lightning as pl
import torch

from spelling_transfer.progress import ProgressHandle

Metrics = dict[str, float]
"""One logged row: ``step`` and the values under ``train/…``."""

_BYTES_PER_MB = 1e6


@dataclass(frozen=True)
class StepStatistics:
    """What one optimiser step measured, over all devices.

    Attributes:
        loss: Mean cross entropy a label token.
        grad_norm: Norm of the gradient before it was clipped.
        learning_rate: The rate the step was taken with.
    """

    loss: float
    grad_norm: float
    learning_rate: float


def memory_mb(device: torch.device) -> float:
    """Returns the memory in use, in MB of 10^6 bytes: the peak of the device on CUDA, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _BYTES_PER_MB
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / _BYTES_PER_MB
    return float(psutil.Process().memory_info().rss) / _BYTES_PER_MB


class StepMetrics(pl.Callback):
    """Hands a row of metrics to a function every so many steps, and at the end.

    Loss, gradient norm and learning rate are those of the step itself, so that a resumed run reports the same rows;
    throughput is that of the steps since the last row, without the time evaluations took between them.

    Args:
        every_steps: Optimiser steps between rows.
        report: Receives each row.
    """

    def __init__(self, every_steps: int, report: Callable[[Metrics], None]) -> None:
        self.every_steps = every_steps
        self.report = report
        self._seconds = 0.0
        self._examples = self._label_tokens = 0
        self._step_began = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Starts the clock of a step."""
        self._step_began = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Adds the step up, and reports when its turn has come."""
        due = trainer.global_step % self.every_steps == 0
        if due:
            pl_module.settle()  # a step that still runs on a GPU takes its time as well
        self._seconds += time.perf_counter() - self._step_began
        self._examples += pl_module.step_size[0]
        self._label_tokens += pl_module.step_size[1]
        if due:
            self._report(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Reports the last step, where it has not been."""
        if self._examples:
            self._report(trainer, pl_module)

    def _report(self, trainer: pl.Trainer, pl_module: Any) -> None:
        statistics: StepStatistics = pl_module.statistics
        seconds = max(self._seconds, 1e-9)
        row: Metrics = {
            "step": trainer.global_step,
            "train/loss": statistics.loss,
            "train/grad_norm": statistics.grad_norm,
            "train/learning_rate": statistics.learning_rate,
            "train/examples_per_second": self._examples / seconds,
            "train/label_tokens_per_second": self._label_tokens / seconds,
            "train/memory_mb": memory_mb(pl_module.device),
        }
        self._seconds, self._examples, self._label_tokens = 0.0, 0, 0
        self.report(row)


class EverySteps(pl.Callback):
    """Calls a function with the step number after every ``interval`` optimiser steps; it may stop the run.

    Args:
        interval: Steps between calls.
        call: Receives the number of steps done; a true answer ends the training.
    """

    def __init__(self, interval: int, call: Callable[[int], bool | None]) -> None:
        self.interval = interval
        self.call = call

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Calls the function when its turn has come."""
        if trainer.global_step % self.interval == 0:
            was_training = trainer.lightning_module.training
            trainer.lightning_module.eval()
            trainer.should_stop = trainer.should_stop or bool(self.call(trainer.global_step))
            trainer.lightning_module.train(was_training)


class ShowProgress(pl.Callback):
    """Moves a progress bar on after each step, with the loss beside it where the bar can show it.

    Args:
        progress: Called with the number of steps done since the last call.
        first_step: Steps a resumed run had done before.
    """

    def __init__(self, progress: Callable[[int], None], first_step: int = 0) -> None:
        self.progress = progress
        self.first_step = first_step

    def on_train_start(self, *_: Any) -> None:
        """Counts what an earlier run of the same training did."""
        if self.first_step:
            self.progress(self.first_step)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Counts a step."""
        self._show(pl_module.ledger.last.loss)  # the last known: on a GPU that of the step before
        self.progress(1)

    def on_train_end(self, _: pl.Trainer, pl_module: Any) -> None:
        """Shows the loss of the last step."""
        self._show(pl_module.statistics.loss)

    def _show(self, loss: float) -> None:
        if isinstance(self.progress, ProgressHandle) and not math.isnan(loss):
            self.progress.show(loss=loss)
