"""What happens between the steps of a training run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from spelling_transfer.progress import ProgressHandle


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
        if isinstance(self.progress, ProgressHandle):
            self.progress.show(loss=pl_module.statistics.loss)
        self.progress(1)
