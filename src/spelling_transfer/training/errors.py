"""What can go wrong in a training run, said so that the user knows what to change."""

from __future__ import annotations

from collections.abc import Sequence

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.training.config import TrainingSettings


class TrainingDivergedError(SpellingTransferError):
    """The loss or its gradient is no longer a number.

    Attributes:
        indices: The examples of the step.
    """

    def __init__(self, message: str, indices: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.indices = list(indices)


class TrainingMemoryError(SpellingTransferError):
    """The device, or this machine, has too little memory for the run."""


class DeviceError(SpellingTransferError):
    """A setting asks for what this device cannot do."""


class TrainingStopped(SystemExit):
    """SIGTERM ended the run after a whole step; the exit code is the shell's for that signal."""

    def __init__(self) -> None:
        super().__init__(143)


_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error says that memory ran out, on whichever device.

    ``torch.OutOfMemoryError`` is a ``RuntimeError`` and is told by its name: what asks need not import torch.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def memory_advice(settings: TrainingSettings, longest: int) -> str:
    """Says that memory ran out in a run whose longest example has so many tokens, and what to change."""
    changes = []
    if not settings.gradient_checkpointing:
        changes.append("training.gradient_checkpointing true")
    if settings.logits_mb is None or settings.logits_mb > 64:
        changes.append("training.logits_mb 64")
    changes.append("a smaller model, or a device with more memory")
    return (
        f"Out of memory with examples of up to {longest} tokens, one at a time on a GPU. In this order, try: "
        + "; ".join(changes)
        + "."
    )
