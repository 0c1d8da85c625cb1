"""What a run switches on in a model and switches off again: gradient checkpointing, compiled layers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spelling_transfer.models.loss import backbone
from spelling_transfer.training.config import TrainingSettings


@contextmanager
def training_options(model: Any, settings: TrainingSettings) -> Iterator[None]:
    """Switches the options of the settings on inside the block."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    layers = list(backbone(model).layers) if settings.compile else []
    if settings.gradient_checkpointing:
        with _quiet():
            # The older, reentrant kind finds no gradient to keep where the embedding is frozen.
            base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for layer in layers:
        layer.compile(dynamic=True)  # lengths differ from batch to batch
    try:
        yield
    finally:
        if settings.gradient_checkpointing:
            with _quiet():
                base.gradient_checkpointing_disable()
        for layer in layers:
            layer._compiled_call_impl = None


@contextmanager
def _quiet() -> Iterator[None]:
    # These names go in transformers 6; their successors are not in the oldest version that is allowed here.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
        yield
