"""Progress that shows itself only where there is something to wait for: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ProgressHandle:
    """Counts what is done; called with the number of items done since the last call. `progress_bar` makes it."""

    def __init__(self, bar: Progress, task: TaskID, after_seconds: float, line_every_seconds: float) -> None:
        self._bar = bar
        self._task = task
        self._after_seconds = after_seconds
        self._line_every_seconds = line_every_seconds
        self._begun = self._last_line = time.monotonic()
        self._values: dict[str, float] = {}

    def __call__(self, done: int) -> None:
        """Counts ``done`` items more, and draws the bar or writes a line once enough time has passed."""
        self._bar.update(self._task, advance=done)
        now = time.monotonic()
        if not self._bar.disable:
            if not self._bar.live.is_started and now - self._begun >= self._after_seconds:
                self._bar.start()
        elif now - self._last_line >= self._line_every_seconds:
            self._last_line = now
            self._write_line(now - self._begun)

    def show(self, **values: float) -> None:
        """Shows numbers beside the bar, such as ``loss=1.25``; each stays until it is given again."""
        self._values.update(values)
        self._bar.update(self._task, note=self._note())

    def _note(self) -> str:
        return "  ".join(f"{name} {value:.3f}" for name, value in self._values.items())

    def _write_line(self, seconds: float) -> None:
        task = next(each for each in self._bar.tasks if each.id == self._task)
        total = task.total or 0
        left = f"{seconds * (total - task.completed) / task.completed:,.0f} s left" if task.completed else ""
        parts = [f"{task.description}: {task.completed:,.0f} of {total:,.0f}", left, self._note()]
        self._bar.console.print(", ".join(filter(None, parts)), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(
    description: str, total: int, *, after_seconds: float = 2.0, line_every_seconds: float = 30.0
) -> Iterator[ProgressHandle]:
    """Yields a handle that counts what is done; a bar appears once that has taken long enough, and goes at the end.

    Where standard error is no terminal (a file, a job's log), a line is written there now and then.

    Args:
        description: What is being done.
        total: How much there is to do.
        after_seconds: How long to wait before drawing.
        line_every_seconds: How long to wait between lines.
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
        yield ProgressHandle(bar, task, after_seconds, line_every_seconds)
    finally:
        bar.stop()
