"""What a run switches on in a model and switches off again: gradient checkpointing, compiled layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spelling_transfer.models.load import backbone
from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.errors import DeviceError


@contextmanager
def training_options(model: Any, settings: TrainingSettings) -> Iterator[None]:
    """Switches the options of the settings on inside the block.

    Raises:
        DeviceError: A layer could not be compiled.
    """
    base = model.get_base_model() if hasattr(model, "peft_config") else model
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
            layer._compiled_call_impl = None
