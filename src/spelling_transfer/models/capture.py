"""CUDA graphs: a function on tensors that stay where they are, recorded once and replayed from then on.

A replay starts all kernels of a function at once, where Python would start them one by one: in small batches most of
the time goes there (https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/). What is recorded are addresses: a
function may read and write only tensors that are kept, and may not look at what they hold.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from spelling_transfer.errors import SpellingTransferError, causes


def free_bytes(device: torch.device) -> int:
    """Returns the bytes of a GPU's memory that this process may still take.

    What others use is not free, nor what is beyond a limit on this process; what torch keeps for later is.
    """
    allocated = torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - allocated
    allowed = torch.cuda.get_per_process_memory_fraction(device) * torch.cuda.get_device_properties(device).total_memory
    return max(0, min(free, int(allowed) - allocated))


class CaptureError(SpellingTransferError):
    """A function cannot be recorded as a CUDA graph here."""


class GraphPool:
    """Where graphs that never run side by side share the memory of their intermediate results.

    Args:
        device: Where the functions compute.
        enabled: Whether functions are recorded; otherwise each is called as it is.
    """

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        self.device = device
        self.enabled = enabled
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.renew()

    def renew(self) -> None:
        """Takes another place for what is recorded from now on; torch refuses one that all graphs have left."""
        if self.device.type == "cuda":
            self._handle = torch.cuda.graph_pool_handle()

    def warm_up(self, function: Callable[[], None]) -> None:
        """Runs a function beside the current stream, so that all it needs once is there before it is recorded."""
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                function()
        finally:  # what was started runs on where it failed
            current.wait_stream(self._stream)

    def record(self, function: Callable[[], None]) -> Callable[[], None]:
        """Records a function without running it, and returns what runs it.

        Raises:
            CaptureError: It does what a graph cannot hold, or the driver is too old.
            torch.OutOfMemoryError: Its intermediate results do not fit.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, a data loader's that pins memory for one, may continue meanwhile.
            with torch.cuda.graph(graph, pool=self._handle, stream=self._stream, capture_error_mode="thread_local"):
                function()
        except RuntimeError as error:
            # What ends a recording hides what broke it off.
            found = list(causes(error))
            for cause in found:
                if isinstance(cause, torch.OutOfMemoryError):
                    raise cause from None
            raise CaptureError(
                f"a step cannot be recorded as a CUDA graph ({str(found[-1]).splitlines()[0]})"
            ) from error

        def replay() -> None:
            with torch.cuda.device(self.device):
                graph.replay()

        return replay


class Captured:
    """One function: called at first, which warms it up, then recorded, and replayed from then on.

    It does not keep the function, which would make a circle of an object and its own methods.

    Args:
        pool: Shares its memory.
        calls_before: How often it is called before it is recorded, once at least. Recording takes some tenths of a
            second, which a long function that comes a few times does not bring in.
    """

    def __init__(self, pool: GraphPool, calls_before: int = 1) -> None:
        self._pool = pool
        self._calls_before = calls_before
        self._replay: Callable[[], None] | None = None

    def __call__(self, function: Callable[[], None]) -> None:
        """Runs the function; it must be the same each time.

        Raises:
            CaptureError: See `GraphPool.record`.
        """
        if not self._pool.enabled:
            function()
        elif self._calls_before > 0:
            self._pool.warm_up(function)
            self._calls_before -= 1
        else:
            if self._replay is None:
                self._replay = self._pool.record(function)
            self._replay()
