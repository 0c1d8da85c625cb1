"""One training run: a base model, encoded examples, an adapter."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, IterableDataset

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.training.callbacks import ShowProgress
from spelling_transfer.training.checkpoints import Checkpoints, checkpoint_callback, fingerprint, latest_checkpoint
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import Batch, EncodedExamples, StepSampler
from spelling_transfer.training.metrics import Metrics, StepMetrics
from spelling_transfer.training.module import AnswerModule


@dataclass(frozen=True)
class TrainingResult:
    """What a training run measured.

    Attributes:
        losses: Mean cross entropy a label token at each step.
        steps: Optimiser steps taken.
        seconds: Time they took.
        examples_per_second: Throughput.
        metrics: The rows that were logged, as `StepMetrics` makes them.
    """

    losses: list[float]
    steps: int
    seconds: float
    examples_per_second: float
    metrics: list[Metrics] = field(default_factory=list)


class _Steps(IterableDataset[list[Batch]]):
    def __init__(self, examples: EncodedExamples, sampler: StepSampler) -> None:
        self.examples = examples
        self.sampler = sampler

    def __iter__(self) -> Iterator[list[Batch]]:
        for step in self.sampler:
            yield [self.examples.batch(indices) for indices in step]


def train(
    loaded: LoadedModel,
    examples: EncodedExamples,
    settings: TrainingSettings,
    *,
    subset_rows: torch.Tensor | None = None,
    callbacks: Sequence[pl.Callback] = (),
    progress: Callable[[int], None] | None = None,
    checkpoints: Checkpoints | None = None,
    on_metrics: Callable[[Metrics], None] | None = None,
) -> TrainingResult:
    """Trains what is trainable in ``loaded``, in place.

    Args:
        loaded: The model with its adapter attached.
        examples: What to train on.
        settings: How.
        subset_rows: Rows of the token subset for the restricted softmax, ascending.
        callbacks: Lightning callbacks (in-training evaluation, pruning).
        progress: Called with the number of steps done since the last call; a `ProgressHandle` shows the loss too.
        checkpoints: Where to keep checkpoints and resume from; ``None`` keeps none.
        on_metrics: Receives a row of metrics every ``log_every_steps`` steps and after the last; see `StepMetrics`.

    Raises:
        CheckpointError: The folder holds a checkpoint of another run.
        TrainingDivergedError: The loss is no longer a number.
    """
    identity, resume = "", None
    if checkpoints is not None:
        trainable = [name for name, p in loaded.model.named_parameters() if p.requires_grad]
        identity = fingerprint(settings, examples, trainable)
        resume = latest_checkpoint(checkpoints, identity)
        callbacks = [*callbacks, checkpoint_callback(checkpoints)]
    if progress is not None:
        callbacks = [ShowProgress(progress, resume[1] if resume else 0), *callbacks]
    rows: list[Metrics] = []

    def report(row: Metrics) -> None:
        rows.append(row)
        if on_metrics is not None:
            on_metrics(row)

    # First, so that what other callbacks do between the steps is not counted as training.
    callbacks = [StepMetrics(settings.log_every_steps, report), *callbacks]
    module = AnswerModule(loaded, settings, subset_rows, identity)
    sampler = StepSampler(
        examples.lengths,
        settings.batch_size,
        settings.grad_accum_steps,
        settings.seed,
        first_step=resume[1] if resume else 0,
    )
    loader = DataLoader(_Steps(examples, sampler), batch_size=None)
    with seeded(settings.seed, settings.threads), _quiet():
        trainer = pl.Trainer(
            max_steps=settings.max_steps,
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=checkpoints is not None,
            enable_model_summary=False,
            enable_progress_bar=False,
            callbacks=list(callbacks),
            use_distributed_sampler=False,
        )
        loaded.model.train()
        started = time.perf_counter()
        trainer.fit(module, loader, ckpt_path=resume[0] if resume else None, weights_only=True)
        seconds = time.perf_counter() - started
    loaded.model.eval()
    steps = len(module.losses)
    done = (steps - sampler.first_step) * min(settings.batch_size * settings.grad_accum_steps, len(examples))
    return TrainingResult(module.losses, steps, seconds, done / seconds, rows)


@contextmanager
def seeded(seed: int, threads: int) -> Iterator[None]:
    """Fixes torch's seed and thread count inside the block and puts both back afterwards."""
    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    # Lightning's start-up lines and its advice on data-loader workers say nothing about this run.
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        try:
            yield
        finally:
            logger.setLevel(before)
