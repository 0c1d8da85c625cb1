"""Optimisers and schedules of the settings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import torch

from spelling_transfer.training.config import TrainingSettings
from spelling_transfer.training.errors import DeviceError
from spelling_transfer.training.static import ReplayedAdamW

_DECAY_SHARE = 0.2
"""Share of the steps after the warm-up in which ``warmup_stable_decay`` falls (Hägele et al., 2024, use 10-20%)."""


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], settings: TrainingSettings, *, fused: bool
) -> torch.optim.Optimizer:
    """Returns the optimiser of the settings over the trainable parameters.

    Args:
        parameters: What is trained.
        settings: Which optimiser, its learning rate and weight decay.
        fused: Whether AdamW may use its fused kernel; a gradient scaler needs to see gradients the kernel hides.

    Raises:
        DeviceError: ``adamw_8bit`` without CUDA or without bitsandbytes.
    """
    parameters = list(parameters)
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay, momentum=settings.momentum)
    if settings.optimizer == "adafactor":
        return torch.optim.Adafactor(parameters, lr=rate, weight_decay=decay)
    if settings.optimizer == "adamw_8bit":
        return _adamw_8bit(parameters, rate, decay)
    return ReplayedAdamW(parameters, lr=rate, weight_decay=decay, fused=fused)


def _adamw_8bit(parameters: list[torch.nn.Parameter], rate: float, decay: float) -> torch.optim.Optimizer:
    if not torch.cuda.is_available():
        raise DeviceError("training.optimizer: adamw_8bit needs CUDA, which is not available. Set it to 'adamw'.")
    try:
        bitsandbytes = import_module("bitsandbytes")
    except ImportError as error:
        raise DeviceError(
            "training.optimizer: adamw_8bit needs bitsandbytes (pip install 'spelling-transfer[cuda]'), or set it to "
            "'adamw'."
        ) from error
    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(parameters, lr=rate, weight_decay=decay)
    return optimizer


def make_schedule(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> Any:
    """Returns the schedule of the settings, to be stepped after each optimiser step.

    ``linear``, ``cosine`` and ``constant`` warm up from 1/``warmup_steps`` of the peak, so that no step is wasted; the
    others are transformers' own, whose first step of a warm-up has a rate of zero.
    """
    if settings.schedule in ("linear", "cosine", "constant"):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(settings, step))
    from transformers import get_scheduler

    specific: dict[str, Any] = {}
    if settings.schedule == "warmup_stable_decay":
        after = max(1, settings.max_steps - settings.warmup_steps)
        specific = {"num_decay_steps": max(1, round(_DECAY_SHARE * after))}
    return get_scheduler(
        settings.schedule,
        optimizer,
        num_warmup_steps=settings.warmup_steps,
        num_training_steps=settings.max_steps,
        scheduler_specific_kwargs=specific,
    )


def learning_rate_factor(settings: TrainingSettings, step: int) -> float:
    """Returns the share of the peak learning rate after ``step`` steps, for the schedules of our own."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.max_steps - settings.warmup_steps)
    if settings.schedule == "linear":
        return max(0.0, 1.0 - progress)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))) if settings.schedule == "cosine" else 1.0


def rate_of(scheduler: Any) -> float:
    """Returns the learning rate of the step to come; the optimiser's own may be a tensor on a device."""
    rate = scheduler.base_lrs[0] * scheduler.lr_lambdas[0](scheduler.last_epoch)
    return float(rate)
