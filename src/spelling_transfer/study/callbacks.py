"""What a trial does between the steps of its training: it is evaluated, and it says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from spelling_transfer.training.callbacks import EverySteps


class EvaluationCallback(EverySteps):
    """Scores the model every so many steps, and at the start where a resumed run stands on such a step.

    A run that was stopped between a step and its score has a checkpoint without one.
    """

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Scores what was resumed."""
        if trainer.global_step and trainer.global_step % self.interval == 0:
            self.on_train_batch_end(trainer)


class StepCallback(pl.Callback):
    """Calls a function with the number of steps done: after the scores, before the checkpoint.

    Args:
        call: May raise, to end the run; the checkpoint of the step is then written.
    """

    def __init__(self, call: Callable[[int], None]) -> None:
        self.call = call

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Calls the function."""
        self.call(trainer.global_step)
