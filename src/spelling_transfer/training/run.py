"""One training run: a base model, encoded examples, an adapter."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from kedro_lightning import machine_count
from spelling_transfer.models.attention import without_plans
from spelling_transfer.models.generate import cpu_threads
from spelling_transfer.models.kernels import fused_kernels
from spelling_transfer.models.load import LoadedModel, backbone, base_of, pick_device
from spelling_transfer.training.callbacks import Metrics, ShowProgress, StepMetrics
from spelling_transfer.training.checkpoints import (
    Checkpoints,
    WholeFiles,
    checkpoint_callback,
    fingerprint,
    latest_checkpoint,
    remove_partial_files,
)
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.data import AnswerData, EncodedExamples
from spelling_transfer.training.errors import (
    DeviceError,
    TrainingDivergedError,
    TrainingMemoryError,
    TrainingStopped,
    is_out_of_memory,
    memory_advice,
)
from spelling_transfer.training.module import AnswerModule
from spelling_transfer.training.parallel import Devices, make_strategy
from spelling_transfer.training.preflight import check_examples, check_weights, lightning_precision


@dataclass(frozen=True)
class TrainingResult:
    """What a training run measured.

    Attributes:
        losses: Mean cross entropy a label token at each step.
        steps: Optimiser steps taken.
        metrics: The rows that were logged, as `StepMetrics` makes them.
    """

    losses: list[float]
    steps: int
    metrics: list[Metrics] = field(default_factory=list)


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
    devices: Devices | None = None,
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
        devices: The devices; by default one, and in a job on several machines one on each of them.

    Raises:
        CheckpointError: The folder holds a checkpoint of another run.
        DeviceError: A setting asks for what the device cannot do.
        PackingError: Examples are to be packed and the model's attention does not keep them apart.
        TrainingDataError: An example is longer than the model's context, or a label is outside the subset.
        TrainingDivergedError: The loss or the gradient is no longer a number.
        TrainingMemoryError: Memory ran out.
        KeyboardInterrupt: Ctrl-C.
        TrainingStopped: SIGTERM; the step was finished and, with ``checkpoints``, saved.
    """
    loaded.free_decoder()
    devices = devices or Devices(machines=machine_count())
    device = pick_device()
    check_weights(loaded.model)
    data = AnswerData(examples, settings, check_examples(examples, loaded.model, settings, subset_rows))
    with quiet():
        trainer = pl.Trainer(
            max_steps=settings.max_steps,
            accelerator=device,
            devices=devices.number,
            num_nodes=devices.machines,
            strategy=make_strategy(devices),
            precision=lightning_precision(settings.precision, device),
            plugins=[WholeFiles()],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            callbacks=list(callbacks),
            use_distributed_sampler=False,
        )
        module = AnswerModule(loaded, settings, subset_rows)
        result = fit(trainer, module, data, progress=progress, checkpoints=checkpoints, on_metrics=on_metrics)
    loaded.model, module.model = module.model, None  # the trainer and the module hold each other
    return result


def fit(
    trainer: pl.Trainer,
    module: AnswerModule,
    data: AnswerData,
    *,
    progress: Callable[[int], None] | None = None,
    checkpoints: Checkpoints | None = None,
    on_metrics: Callable[[Metrics], None] | None = None,
) -> TrainingResult:
    """Runs a Lightning trainer over the module and the data; arguments and errors are those of `train`."""
    settings, examples, model = module.settings, data.examples, module.model
    resume = None
    if checkpoints is not None:
        module.fingerprint = fingerprint(settings, examples, model, module.subset_rows)
        if trainer.is_global_zero:
            remove_partial_files(checkpoints)
        resume = latest_checkpoint(checkpoints, module.fingerprint)
        trainer.callbacks.append(checkpoint_callback(checkpoints))  # type: ignore[attr-defined]
    data.first_step = resume[1] if resume else 0
    rows: list[Metrics] = []

    def report(row: Metrics) -> None:
        rows.append(row)
        if on_metrics is not None and trainer.is_global_zero:
            on_metrics(row)

    # First, so that what other callbacks do between the steps is not counted as training.
    first: list[pl.Callback] = [StepMetrics(settings.log_every_steps, report)]
    if progress is not None and trainer.is_global_zero:
        first.append(ShowProgress(progress, data.first_step))
    trainer.callbacks[:0] = first  # type: ignore[attr-defined]
    model.train()
    with (
        seeded(settings.seed + trainer.global_rank, settings.threads),
        training_options(model, settings),
        # A compiler makes kernels of its own, and cannot look into these.
        nullcontext() if settings.compile else fused_kernels(model, trainer.strategy.root_device.type),
        without_plans(),
    ):
        try:
            _fit(trainer, module, data, resume[0] if resume else None, checkpoints)
        finally:
            module.release()
    module.make_whole().eval()
    return TrainingResult(module.losses, len(module.losses), rows)


def _fit(
    trainer: pl.Trainer, module: AnswerModule, data: AnswerData, resume: Any, checkpoints: Checkpoints | None
) -> None:
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    except SIGTERMException as error:
        raise TrainingStopped from error
    except SystemExit as error:  # SIGTERMException is one, too
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        # Lightning would end the process with 1 and without a word, and has made it deaf to a further Ctrl-C.
        signal.signal(signal.SIGINT, on_ctrl_c)
        raise KeyboardInterrupt from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingMemoryError(memory_advice(module.settings, int(data.examples.lengths.max()))) from error
    except TrainingDivergedError as error:
        last = latest_checkpoint(checkpoints, module.fingerprint) if checkpoints else None
        kept = f"The last good checkpoint is {last[0]} (step {last[1]})." if last else "No checkpoint was kept."
        raise TrainingDivergedError(
            f"{error} The step's examples: {data.examples.names(error.indices)}. {kept}", error.indices
        ) from error


@contextmanager
def seeded(seed: int, threads: int) -> Iterator[None]:
    """Fixes torch's seed and thread count inside the block and puts both back afterwards."""
    with torch.random.fork_rng(), cpu_threads(threads):
        torch.manual_seed(seed)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Lightning's start-up lines and its advice on data-loader workers, which say nothing about this run."""
    logger = logging.getLogger("pytorch_lightning")
    before = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        try:
            yield
        finally:
            logger.setLevel(before)


@contextmanager
def training_options(model: Any, settings: TrainingSettings) -> Iterator[None]:
    """Switches the options of the settings on inside the block.

    Raises:
        DeviceError: A layer could not be compiled.
    """
    base = base_of(model)
    layers = list(backbone(model).layers) if settings.compile else []
    # transformers 5.24 renamed this; older versions that are allowed know one name, later ones the other.
    name = "activation" if hasattr(base, "activation_checkpointing_enable") else "gradient"
    if settings.gradient_checkpointing:
        # The older, reentrant kind finds no gradient to keep where the embedding is frozen.
        options = {f"{name}_checkpointing_kwargs": {"use_reentrant": False}}
        getattr(base, f"{name}_checkpointing_enable")(**options)
    for layer in layers:
        layer.compile(dynamic=True)  # lengths differ from batch to batch
    try:
        yield
    except Exception as error:
        if not (settings.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))):
            raise
        beginning = " ".join(str(error).split())[:200]  # a compiler's output may run to thousands of lines
        raise DeviceError(
            f"training.compile: torch.compile does not work here ({beginning}). It needs a C++ compiler on a CPU and "
            "Triton on CUDA. Set it to false."
        ) from error
    finally:
        if settings.gradient_checkpointing:
            getattr(base, f"{name}_checkpointing_disable")()
        for layer in layers:
            layer._compiled_call_impl = None  # torch has no public way back; a test notices if this is none
