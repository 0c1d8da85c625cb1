"""Logs of running jobs, line by line as they come."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from ..errors import PlatformError
from ..platform.jobs import JobsApi, JobView
from .tracked import Tracked
from .work import EXIT_MARK

logger = logging.getLogger(__name__)
_MOST = 8


class Followers:
    """Reads along with a few running jobs; of the others, the whole log is read when they end."""

    def __init__(self, api: JobsApi, on_line: Callable[[str, str], None], wake: Callable[[], None]) -> None:
        """Makes the readers.

        Args:
            api: The platform's jobs.
            on_line: Told of each line, with the title of the work.
            wake: Called when a job says that it ends.
        """
        self._api, self._on_line, self._wake = api, on_line, wake
        self._lock = threading.Lock()
        self._followed: set[str] = set()
        self._closed = False

    def add(self, tracked: Tracked) -> None:
        """Begins to read along with a job, unless enough are read."""
        job = tracked.job
        with self._lock:
            if job is None or self._closed or len(self._followed) >= _MOST or job.id in self._followed:
                return
            self._followed.add(job.id)
        threading.Thread(target=self._follow, args=(tracked, job), name=f"log of {job.name}", daemon=True).start()

    def remove(self, tracked: Tracked) -> None:
        """Stops reading along with a job."""
        with self._lock:
            if tracked.job is not None:
                self._followed.discard(tracked.job.id)

    def complete(self, tracked: Tracked, lines: list[str]) -> None:
        """Tells the lines of an ended job that were not told while it ran."""
        with self._lock:
            missing = lines[len(tracked.lines) :]
            tracked.lines = list(lines)
        for line in missing:
            self._on_line(tracked.work.title, line)

    def read(self, tracked: Tracked, job: JobView) -> list[str]:
        """Returns the whole log of an ended job, or what was seen of it where it cannot be read."""
        try:
            lines = [line.text for line in self._api.logs([job])]
        except PlatformError as error:
            logger.warning("%s: its log cannot be read: %s", tracked.work.title, error)
            return tracked.lines
        self.complete(tracked, lines)
        return lines

    def read_all(self, ended: Sequence[Tracked]) -> None:
        """Tells what is left of the logs of ended jobs, those on one machine with a single request for all of them."""
        single = {tracked.job.id: tracked for tracked in ended if tracked.job is not None and not tracked.job.several}
        for tracked in ended:
            if tracked.job is not None and tracked.job.several:
                self.read(tracked, tracked.job)
        if not single:
            return
        try:
            lines = self._api.logs([tracked.job for tracked in single.values() if tracked.job is not None])
        except PlatformError as error:
            logger.warning("Logs cannot be read: %s", error)
            return
        for job_id, tracked in single.items():
            self.complete(tracked, [line.text for line in lines if line.job_id == job_id])

    def close(self) -> None:
        """Stops reading."""
        with self._lock:
            self._closed = True
            self._followed.clear()

    def _follow(self, tracked: Tracked, job: JobView) -> None:
        try:
            for line in self._api.follow(job, lambda: job.id not in self._followed):
                with self._lock:
                    if job.id not in self._followed or tracked.job is None or tracked.job.id != job.id:
                        return
                    tracked.lines.append(line)
                self._on_line(tracked.work.title, line)
                if EXIT_MARK in line:
                    self._wake()
                    return
        except Exception as error:  # noqa: BLE001  (reading along is a comfort: the job goes on without)
            logger.debug("Reading along with %s ended: %s", job.name, error)
