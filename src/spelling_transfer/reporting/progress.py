"""A progress bar that shows itself only where there is something to wait for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(description: str, total: int, *, after_seconds: float = 2.0) -> Iterator[Callable[[int], None]]:
    """Yields a function that counts what is done; a bar appears once that has taken long enough, and goes at the end.

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
    )
    console = Console(stderr=True)
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(description, total=total)
    begun = time.monotonic()

    def advance(done: int) -> None:
        if not bar.live.is_started and time.monotonic() - begun >= after_seconds:
            bar.start()
        bar.update(task, advance=done)

    try:
        yield advance
    finally:
        bar.stop()
