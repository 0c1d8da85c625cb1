"""Which arithmetic a device is trained in."""

from __future__ import annotations

from typing import Any, Literal

import torch

from spelling_transfer.training.config import Precision
from spelling_transfer.training.errors import DeviceError

LightningPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]


def lightning_precision(asked: Precision, device: str) -> LightningPrecision:
    """Returns Lightning's name of the precision.

    ``32-true`` leaves the weights in the type they were loaded with and casts nothing.

    Args:
        asked: The setting.
        device: ``cpu``, ``cuda`` or ``mps``.

    Raises:
        DeviceError: The device does not have it.
    """
    bf16_is_native = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "auto":
        if device != "cuda":
            return "32-true"
        return "bf16-mixed" if bf16_is_native else "16-mixed"
    if asked == "fp32":
        return "32-true"
    if asked == "bf16":
        if device == "cuda" and not bf16_is_native:
            raise DeviceError(
                f"training.precision: bf16 is not native to {torch.cuda.get_device_name()}. Set it to 'fp16' or 'auto'."
            )
        return "bf16-mixed"
    if device != "cuda":
        raise DeviceError(
            f"training.precision: fp16 needs CUDA for its gradient scaler, and this run is on {device}. Set it to "
            "'auto' or 'fp32'."
        )
    return "16-mixed"


def check_weights(model: Any, precision: LightningPrecision) -> None:
    """Checks that what is trained can be trained in this precision.

    Raises:
        DeviceError: Trainable weights in float16, whose updates vanish and which a gradient scaler refuses.
    """
    half = [name for name, p in model.named_parameters() if p.requires_grad and p.dtype == torch.float16]
    if half:
        raise DeviceError(
            f"{len(half)} trained weights are float16 (first: {half[0]}), too coarse for small updates "
            f"(precision {precision}). Load the model in float32 or bfloat16 ('dtype' of its profile)."
        )
