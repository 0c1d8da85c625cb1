"""Settings of one training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spelling_transfer.frozen import FrozenModel

Optimizer = Literal["adamw", "adamw_8bit", "adafactor", "sgd"]
Schedule = Literal[
    "linear", "cosine", "constant", "polynomial", "cosine_with_restarts", "inverse_sqrt", "warmup_stable_decay"
]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


class TrainingSettings(FrozenModel):
    """How an adapter is trained. Defaults follow the LoRA and QLoRA papers where they name a value."""

    learning_rate: float = Field(2e-4, gt=0.0, le=1e-2, description="Peak learning rate.")
    batch_size: int = Field(8, ge=1, le=1024, description="Examples of a batch, over all devices.")
    grad_accum_steps: int = Field(
        4, ge=1, le=256, description="Batches of a step. Memory decides how many examples run side by side, not these."
    )
    max_steps: int = Field(1000, ge=1, le=100_000, description="Optimiser steps.")
    warmup_steps: int = Field(100, ge=0, le=10_000, description="Steps over which the learning rate rises.")
    schedule: Schedule = Field("cosine", description="Shape after the warm-up.")
    weight_decay: float = Field(0.0, ge=0.0, le=1.0, description="Weight decay; decoupled for AdamW.")
    max_grad_norm: float = Field(1.0, gt=0.0, le=100.0, description="Gradients are clipped to this norm.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the adapter's start, the order of data and dropout.")
    threads: int = Field(2, ge=1, le=256, description="CPU threads; fixed because sums depend on their number.")
    pass_tokens: int | None = Field(
        None, ge=1, description="Tokens side by side on a GPU at most; by default as many as its memory holds."
    )
    cuda_graphs: bool = Field(
        True, description="Launch the kernels of a step together, as CUDA graphs; false launches them one by one."
    )
    optimizer: Optimizer = Field("adamw", description="Optimiser; adamw_8bit needs CUDA and bitsandbytes.")
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="Momentum of sgd; the others have their own.")
    precision: Precision = Field(
        "auto", description="Arithmetic: auto is fp32 on CPU and MPS, on CUDA bf16 where it is native, else fp16."
    )
    batching: Literal["padded", "packed"] = Field(
        "padded", description="Examples as rows padded to the longest, or packed in rows with separate attention."
    )
    packed_tokens: int = Field(256, ge=16, le=65_536, description="Longest row of packed examples, in tokens.")
    logits_mb: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Largest block of logits held at once, in MB; by default a tenth of a GPU's free memory, else 256.",
    )
    head: Literal["auto", "torch", "liger"] = Field(
        "auto", description="Kernel of the head's loss; auto takes liger-kernel's for a head that is trained, on CUDA."
    )
    gradient_checkpointing: bool = Field(
        False, description="Keep one state per layer and compute the rest again: less memory, about a third more time."
    )
    compile: bool = Field(False, description="Compile the decoder layers with torch.compile: slow start, faster steps.")
    log_every_steps: int = Field(10, ge=1, le=10_000, description="Steps between rows of loss, speed and memory.")
