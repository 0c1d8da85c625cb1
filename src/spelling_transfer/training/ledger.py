"""What steps measured, on its way from the device: noted when it arrives, so that no step waits for it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from spelling_transfer.training.callbacks import StepStatistics


@dataclass
class Ledger:
    """The steps whose loss and gradient norm are not known yet, and what the last known one measured.

    Attributes:
        last: What is known of the last step.
    """

    last: StepStatistics = field(default_factory=lambda: StepStatistics(math.nan, math.nan, math.nan))
    _open: deque[tuple[StepStatistics, tuple[int, ...], torch.Tensor, Any]] = field(default_factory=deque)

    def enter(self, statistics: StepStatistics, indices: tuple[int, ...], outcome: torch.Tensor) -> None:
        """Begins to copy a step's outcome to the host.

        Args:
            statistics: What is known of it, all but its loss and gradient norm.
            indices: Its examples.
            outcome: Loss, gradient norm and whether it failed, shape ``(3,)``.
        """
        if outcome.device.type != "cuda":
            self._open.append((statistics, indices, outcome.clone(), None))
            return
        host = torch.empty(3, pin_memory=True)
        host.copy_(outcome, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._open.append((statistics, indices, host, event))

    def arrived(self, running: int) -> Iterator[tuple[StepStatistics, tuple[int, ...], bool]]:
        """Yields each step but the last ``running`` with its examples and whether it failed; it is waited for."""
        while len(self._open) > running:
            statistics, indices, host, event = self._open.popleft()
            if event is not None:
                event.synchronize()
            loss, norm, failed = host.tolist()
            self.last = replace(statistics, loss=loss, grad_norm=norm)
            yield self.last, indices, bool(failed)

    def forget(self) -> int:
        """Forgets the steps that are not known yet, and returns how many they were."""
        number = len(self._open)
        self._open.clear()
        return number
