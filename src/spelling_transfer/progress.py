"""A progress bar that shows itself only where there is something to wait for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressHandle:
    """Counts what is done; called with the number of items done since the last call.

    Args:
        bar: The bar to draw.
        task: Its task.
        after_seconds: How long to wait before drawing.
    """

    def __init__(self, bar: Progress, task: TaskID, after_seconds: float) -> None:
        self._bar = bar
        self._task = task
        self._after_seconds = after_seconds
        self._begun = time.monotonic()
        self._values: dict[str, float] = {}

    def __call__(self, done: int) -> None:
        """Counts ``done`` items more, and draws the bar once enough time has passed."""
        if not self._bar.live.is_started and time.monotonic() - self._begun >= self._after_seconds:
            self._bar.start()
        self._bar.update(self._task, advance=done)

    def show(self, **values: float) -> None:
        """Shows numbers beside the bar, such as ``loss=1.25``; each stays until it is given again."""
        self._values.update(values)
        note = "  ".join(f"{name} {value:.3f}" for name, value in self._values.items())
        self._bar.update(self._task, note=note)


@contextmanager
def progress_bar(description: str, total: int, *, after_seconds: float = 2.0) -> Iterator[ProgressHandle]:
    """Yields a handle that counts what is done; a bar appears once that has taken long enough, and goes at the end.

    Where output is not a terminal, nothing is drawn.

    Args:
        description: What is being done.
        total: How much there is to do.
        after_seconds: How long to wait before drawing.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(description, total=total, note="")
    try:
        yield ProgressHandle(bar, task, after_seconds)
    finally:
        bar.stop()
