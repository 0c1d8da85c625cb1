"""What a trial does between the steps of its training: it is evaluated."""

from __future__ import annotations

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
