"""An optimiser step of fixed shapes: forward, backward, clipping and optimiser as CUDA graphs, replayed at each step.

Launching the kernels of a step one by one takes longer than a GPU takes to run them when examples are short. Captured
once, they are launched together (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). Nothing here looks
at the data, so the host never waits for the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from spelling_transfer.models.capture import GraphPool
from spelling_transfer.training.copies import ComputeCopies
from spelling_transfer.training.data import Batch

Run = Callable[[], None]
Shape = tuple[int, int, int]
"""Rows, width and labels of a pass."""


@contextmanager
def _nothing_waits() -> Iterator[None]:
    """Raises RuntimeError where the host waits for the device, which a failed capture would be the next to notice."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class ReplayedAdamW(torch.optim.AdamW):
    """AdamW whose step may be a part of a captured graph, which is then replayed in its place."""

    replay: Run | None = None
    found_inf: torch.Tensor | None = None
    """Where this is 1 the fused kernel passes over the update; torch's gradient scaler sets it in the same way."""

    def step(self, closure: Any = None) -> Any:
        """Replays the update that was captured; without one it is AdamW's own step."""
        if self.replay is None:
            return super().step(closure)
        self.replay()
        # A replay is nothing that torch notices; what is kept of a weight is kept by this count (`head_rows`).
        torch.autograd.graph.increment_version([p for group in self.param_groups for p in group["params"]])
        return None

    def update(self) -> None:
        """Takes AdamW's own step."""
        super().step()


class StaticStep:
    """Passes that add up gradients, and the update of the weights, each with inputs at fixed places in memory.

    Args:
        loss_of: The sum of the losses of a pass, from a batch.
        weights: What is trained, and the copies it is computed with.
        optimizer: Over the originals.
        max_grad_norm: Gradients are clipped to this norm.
        capture: Whether to capture; otherwise the same functions are called.
    """

    def __init__(
        self,
        loss_of: Callable[[Batch], torch.Tensor],
        weights: ComputeCopies,
        optimizer: ReplayedAdamW,
        max_grad_norm: float,
        *,
        capture: bool,
    ) -> None:
        self._loss_of, self._weights, self._optimizer = loss_of, weights, optimizer
        self._max_grad_norm, self.captures = max_grad_norm, capture
        self.device = weights.originals[0].device
        self._gradients = [torch.zeros_like(p) for p in weights.originals]
        is_copied = weights.copies is not weights.originals
        self._arrived = [torch.zeros_like(p) for p in weights.originals] if is_copied else self._gradients
        for parameter, gradient in zip(weights.originals, self._gradients, strict=True):
            parameter.grad = gradient
        self.share = torch.zeros((), device=self.device)
        """One over the label tokens of the step."""
        self.loss = torch.zeros((), device=self.device)
        self.failed = torch.zeros((), device=self.device)
        """1 from the step on whose loss or gradient was no number: no update is made any more."""
        self.outcome = torch.zeros(3, device=self.device)
        """Loss, gradient norm and ``failed`` of the last step."""
        self._inputs: dict[Shape, Batch] = {}
        self._runs: dict[Shape, Run] = {}
        self._pool = GraphPool(self.device, enabled=capture)
        optimizer.found_inf = self.failed

    def prepare(self, shapes: list[Shape]) -> None:
        """Captures a pass of each shape, the largest first, and the update.

        The weights, the moments and the random state stay as they are.

        Raises:
            RuntimeError: Memory ran out, or the host waits for the device.
            CaptureError: Something else cannot be captured.
        """
        self.forget()
        for shape in shapes:
            rows, width, labels = shape
            self._inputs[shape] = Batch(
                torch.zeros((rows, width), dtype=torch.long, device=self.device),
                torch.zeros(labels, dtype=torch.long, device=self.device),
                torch.full((labels,), -100, dtype=torch.long, device=self.device),
            )
            self._runs[shape] = self._made(self._pass_of(self._inputs[shape]))
        self._optimizer.replay = self._made(self._update)
        self.reset()

    def _made(self, run: Run) -> Run:
        if not self.captures:
            return run
        random_state = torch.cuda.get_rng_state(self.device)
        self.failed.fill_(1.0)  # the update is made, and changes nothing
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This instance was constructed with capturable")
            warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
            self._pool.warm_up(run)  # kernels are chosen and compiled
            with _nothing_waits():
                self._pool.warm_up(run)
        replay = self._pool.record(run)
        torch.cuda.set_rng_state(random_state, self.device)
        return replay

    def _pass_of(self, batch: Batch) -> Run:
        def run() -> None:
            loss = self._loss_of(batch) * self.share
            found = torch.autograd.grad(loss, self._weights.copies, allow_unused=True)
            used = [i for i, gradient in enumerate(found) if gradient is not None]
            with torch.no_grad():
                arrived = [found[i] for i in used]
                if self._arrived is not self._gradients:  # added up in float32
                    arrived = [self._arrived[i] for i in used]
                    torch._foreach_copy_(arrived, [found[i] for i in used])
                torch._foreach_add_([self._gradients[i] for i in used], arrived)
                self.loss.add_(loss.detach())

        return run

    @torch.no_grad()
    def _update(self) -> None:
        norm = torch.nn.utils.get_total_norm(self._gradients)
        torch.nn.utils.clip_grads_with_norm_(self._weights.originals, self._max_grad_norm, norm)
        good = norm.isfinite() & self.loss.isfinite()
        self.failed.copy_(torch.maximum(self.failed, (~good).float()))
        self.outcome.copy_(torch.stack([self.loss, norm, self.failed]))
        self._optimizer.update()
        self._weights.refresh()
        torch._foreach_zero_(self._gradients)
        self.loss.zero_()

    def reset(self) -> None:
        """Forgets the passes since the last update."""
        torch._foreach_zero_(self._gradients)
        self.loss.zero_()
        self.failed.zero_()

    def add(self, batch: Batch) -> None:
        """Adds the gradients of a pass."""
        shape = (*batch.input_ids.shape, len(batch.places))
        inputs = self._inputs[shape]
        inputs.input_ids.copy_(batch.input_ids, non_blocking=True)
        inputs.places.copy_(batch.places, non_blocking=True)
        inputs.targets.copy_(batch.targets, non_blocking=True)
        self._runs[shape]()

    def forget(self) -> None:
        """Lets go of the graphs and their memory."""
        self._runs.clear()
        self._inputs.clear()
        self._pool = GraphPool(self.device, enabled=self.captures)

    def free(self) -> None:
        """Lets go of the graphs, and of what the optimiser was given."""
        self.forget()
        self._optimizer.replay = None
        self._optimizer.found_inf = None
