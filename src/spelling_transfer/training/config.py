"""Settings of one training run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingSettings(BaseModel):
    """How an adapter is trained. Defaults follow the LoRA and QLoRA papers where they name a value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(2e-4, gt=0.0, le=1e-2, description="Peak learning rate.")
    batch_size: int = Field(8, ge=1, le=1024, description="Examples that run side by side.")
    grad_accum_steps: int = Field(4, ge=1, le=256, description="Batches whose gradients make one step.")
    max_steps: int = Field(1000, ge=1, le=100_000, description="Optimiser steps.")
    warmup_steps: int = Field(100, ge=0, le=10_000, description="Steps over which the learning rate rises.")
    schedule: Literal["linear", "cosine", "constant"] = Field("cosine", description="Shape after the warm-up.")
    weight_decay: float = Field(0.0, ge=0.0, le=1.0, description="AdamW's decoupled weight decay.")
    max_grad_norm: float = Field(1.0, gt=0.0, le=100.0, description="Gradients are clipped to this norm.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the adapter's start, the order of data and dropout.")
    threads: int = Field(2, ge=1, le=256, description="CPU threads; fixed because sums depend on their number.")
    log_every_steps: int = Field(10, ge=1, le=10_000, description="Steps between rows of loss, speed and memory.")
