"""The logs of jobs: read along line by line, and what they say about why a job failed."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from enum import Enum

from ..errors import PlatformError
from ..platform.jobs import JobsApi, JobView
from .work import EXIT_MARK, Tracked

logger = logging.getLogger(__name__)

ENVIRONMENT_DIFFERS = 78
"""Exit code of a job whose machine has other packages than ours (EX_CONFIG of sysexits.h)."""

_TIMED_OUT = (124, 137)
_MEMORY = re.compile(
    r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|cuda runtime error \(2\)|DefaultCPUAllocator: "
    r"can't allocate memory|OOMKilled|\bMemoryError\b|Error: (Out of memory|Memory ran out)",
)
_CODE = re.compile(r"exit (?:code|status)[ :=]*(\d{1,3})")
_SHOWN_LINES = 12
_MOST_FOLLOWED = 8


class LogFollowers:
    """Reads along with a few running jobs; of the others, the whole log is read when they end."""

    def __init__(self, api: JobsApi, on_line: Callable[[str, str], None], wake: Callable[[], None]) -> None:
        """Makes the readers.

        Args:
            api: The platform's jobs.
            on_line: Called with each line and the title of the work.
            wake: Called when a job says that it ends.
        """
        self._api, self._on_line, self._wake = api, on_line, wake
        self._lock = threading.Lock()
        self._followed: set[str] = set()
        self._closed = self._warned = False

    def add(self, tracked: Tracked) -> None:
        """Begins to read along with a job, unless enough are read."""
        job = tracked.job
        with self._lock:
            if job is None or self._closed or len(self._followed) >= _MOST_FOLLOWED or job.id in self._followed:
                return
            self._followed.add(job.id)
        threading.Thread(target=self._follow, args=(tracked, job), name=f"log of {job.name}", daemon=True).start()

    def remove(self, tracked: Tracked) -> None:
        """Stops reading along with a job."""
        with self._lock:
            if tracked.job is not None:
                self._followed.discard(tracked.job.id)

    def complete(self, tracked: Tracked, lines: list[str]) -> None:
        """Passes on the lines of an ended job that were not read while it ran."""
        with self._lock:
            missing = lines[len(tracked.lines) :]
            tracked.lines = list(lines)
        for line in missing:
            self._pass_on(tracked, line)

    def read(self, tracked: Tracked, job: JobView) -> list[str]:
        """Returns the whole log of an ended job, or what was seen of it where it cannot be read."""
        try:
            lines = self._api.logs([job])[job.id]
        except PlatformError as error:
            logger.warning("%s: its log cannot be read: %s", tracked.work.title, error)
            return tracked.lines
        self.complete(tracked, lines)
        return lines

    def read_all(self, ended: Sequence[Tracked]) -> None:
        """Passes on what is left of the logs of ended jobs; a single request reads all those on one machine."""
        try:
            logs = self._api.logs([tracked.job for tracked in ended if tracked.job is not None])
        except PlatformError as error:
            logger.warning("Logs cannot be read: %s", error)
            return
        for tracked in ended:
            if tracked.job is not None:
                self.complete(tracked, logs[tracked.job.id])

    def close(self) -> None:
        """Stops reading."""
        with self._lock:
            self._closed = True
            self._followed.clear()

    def _pass_on(self, tracked: Tracked, line: str) -> None:
        try:
            self._on_line(tracked.work.title, line)
        except OSError as error:  # a line that cannot be kept is no reason to leave the jobs alone
            if not self._warned:
                logger.warning("%s: a line of its log cannot be kept (%s).", tracked.work.title, error)
            self._warned = True

    def _follow(self, tracked: Tracked, job: JobView) -> None:
        try:
            for line in self._api.follow(job, lambda: job.id not in self._followed):
                with self._lock:
                    if job.id not in self._followed or tracked.job is None or tracked.job.id != job.id:
                        return
                    tracked.lines.append(line)
                self._pass_on(tracked, line)
                if EXIT_MARK in line:
                    self._wake()
                    return
        except Exception as error:  # noqa: BLE001  (following the log is optional: the job runs on without)
            logger.debug("Reading along with %s ended: %s", job.name, error)


class Cause(Enum):
    """Kinds of failures that differ in what is done next."""

    MEMORY = "out of memory"
    TIME = "longest run reached"
    ENVIRONMENT = "other packages there"
    ERROR = "error"


def exit_code(message: str, lines: Sequence[str]) -> int | None:
    """Returns the exit code a job ended with, from what it printed or from what the platform says."""
    for line in reversed(lines[-5:]):
        if EXIT_MARK in line:
            digits = line.rpartition(EXIT_MARK)[2].strip()
            return int(digits) if digits.isdigit() else None
    found = _CODE.search(message)
    return int(found[1]) if found else None


def cause_of(message: str, lines: Sequence[str], seconds: float, limit_seconds: float) -> Cause:
    """Returns the kind of a failure.

    Args:
        message: The platform's reason.
        lines: The job's log.
        seconds: How long the job ran.
        limit_seconds: How long it was allowed to run; 137 means a kill, by time or for lack of memory.
    """
    code = exit_code(message, lines)
    if code == ENVIRONMENT_DIFFERS:
        return Cause.ENVIRONMENT
    if any(_MEMORY.search(line) for line in [message, *lines[-200:]]):
        return Cause.MEMORY
    if code in _TIMED_OUT and seconds >= 0.95 * limit_seconds:
        return Cause.TIME
    if code == _TIMED_OUT[0]:
        return Cause.TIME
    if code == _TIMED_OUT[1]:
        return Cause.MEMORY
    return Cause.ERROR


def describe(title: str, name: str, message: str, lines: Sequence[str], cause: Cause) -> str:
    """Returns the message about a failed job: the reason first, then the end of its log."""
    code = exit_code(message, lines)
    reason = message or (f"exit code {code}" if code is not None else "the platform gives no reason")
    text = f"{title}: job {name} failed ({cause.value}: {reason})."
    tail = [line for line in lines if line.strip() and EXIT_MARK not in line][-_SHOWN_LINES:]
    return text + "".join(f"\n  | {line}" for line in tail)


def advice(cause: Cause, limit_seconds: int) -> str:
    """Returns what can be done about a kind of failure, on a line of its own, or nothing."""
    return {
        Cause.MEMORY: "\nNo machine of the tier has more memory; add one to tiers in compute.yml.",
        Cause.TIME: f"\nIt was ended after {limit_seconds} seconds: tiers.longest_minutes or budget.",
        Cause.ENVIRONMENT: "\nSet the Studio up again with 'kedro compute studios create'.",
        Cause.ERROR: "",
    }[cause]
