"""A piece of work for a job: what it is to do, what is known of it until it is done, and how its jobs are named."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..platform.jobs import MARK, JobView, State, tag_name
from ..platform.machines import Machine

EXIT_MARK = "kedro-compute: exit "
"""What a job prints last, with its exit code; the driver then asks at once instead of at the next round."""

_NAME_LENGTH = 60
_INTERRUPTED = re.compile(r"preempt|interrupted|reclaim|spot instance|taken away|node (?:was )?lost", re.IGNORECASE)


@dataclass(frozen=True)
class Attempt:
    """One try at a piece of work: its number from 1, the machine, and the seconds it may take."""

    number: int
    machine: Machine
    limit_seconds: int


@dataclass(frozen=True)
class Work:
    """A piece of work for one job.

    ``command`` gets the attempt and returns the shell script; it must resume where an earlier attempt was cut off.
    """

    key: str
    title: str
    command: Callable[[Attempt], str]
    studio_id: str
    machines: tuple[Machine, ...]
    env: tuple[tuple[str, str], ...] = ()
    interruptible: bool = False
    num_machines: int = 1
    longest_seconds: int = 4 * 3600
    expected_seconds: float = 1800.0
    priority: float = 1.0
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a piece of work ended well."""

    job: JobView
    machine: Machine
    attempts: int


@dataclass(frozen=True)
class Entry:
    """What is remembered of a job: enough to find it again, and to know what it cost."""

    key: str
    title: str
    job_id: str
    name: str
    attempt: int
    machine: str
    usd_per_hour: float
    state: str
    cost_usd: float
    seconds: float
    note: str = ""


def run_tag(run_id: str) -> str:
    """Returns the tag that all jobs of a run carry."""
    return f"{MARK}-run-{tag_name(run_id)}"


def attempt_tag(run_id: str, key: str, attempt: int) -> str:
    """Returns the tag that one attempt at one piece of work carries, and no other job does."""
    return f"{MARK}-key-{_digest(run_id, key, str(attempt))}"


def job_name(run_id: str, key: str, attempt: int) -> str:
    """Returns the name of a job: readable, unique, the same whenever it is asked for."""
    readable = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[: _NAME_LENGTH - 16].strip("-")
    return f"{readable}-{_digest(run_id, key)[:8]}-{attempt}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def was_interrupted(message: str) -> bool:
    """Returns whether the platform's reason says that the machine went away, which is nobody's mistake."""
    return bool(_INTERRUPTED.search(message))


def finish(future: Future[Any], result: Any) -> None:
    """Ends a future well, unless it has ended."""
    with suppress(InvalidStateError):
        future.set_result(result)


def fail(future: Future[Any], error: BaseException) -> None:
    """Ends a future with an error, unless it has ended."""
    with suppress(InvalidStateError):
        future.set_exception(error)


class Tracked:
    """A piece of work with its job of the moment."""

    def __init__(self, work: Work) -> None:
        """Begins with the first machine and no job."""
        self.work = work
        self.future: Future[Outcome] = Future()
        self.attempt = 1
        self.machine: Machine = work.machines[0]
        self.tried: set[str] = {self.machine.slug}
        self.interruptions = 0
        self.job: JobView | None = None
        self.key_tag = ""
        self.limit_seconds = work.longest_seconds
        self.usd_per_hour = 0.0
        self.missing = 0
        self.cancelled = False
        self.lines: list[str] = []
        self.changed_at = self.began_at = time.monotonic()
        self._ran_since: float | None = None
        self._ran_until: float | None = None

    def begin(self, job: JobView, key_tag: str, limit_seconds: int, usd_per_hour: float) -> None:
        """Notes the job of a new attempt."""
        self.job, self.key_tag, self.limit_seconds, self.usd_per_hour = job, key_tag, limit_seconds, usd_per_hour
        self.machine = next((machine for machine in self.work.machines if machine.slug == job.machine), self.machine)
        self.missing, self.lines = 0, []
        self.changed_at = self.began_at = time.monotonic()
        self._ran_since = self._ran_until = None

    def see(self, job: JobView) -> bool:
        """Notes what the platform says of the job; returns whether the state is another one."""
        changed = self.job is None or self.job.raw_state != job.raw_state or self._ran_since is None
        now = time.monotonic()
        if job.state is not State.PENDING and self._ran_since is None:
            self._ran_since = now
        if job.state.ended and self._ran_until is None:
            self._ran_until = now
        self.job, self.missing = job, 0
        if changed:
            self.changed_at = now
        return changed

    @property
    def seconds(self) -> float:
        """How long the job ran: by the platform's own clock where it says both ends, else by ours, never a mix."""
        if self.job is not None and self.job.started_at and self.job.stopped_at:
            by_platform = (self.job.stopped_at - self.job.started_at).total_seconds()
            if by_platform >= 0:
                return by_platform
        if self._ran_since is None:
            return 0.0
        return (self._ran_until or time.monotonic()) - self._ran_since

    @property
    def pending_seconds(self) -> float:
        """How long the job has been waiting for a machine."""
        return time.monotonic() - self.began_at

    @property
    def cost_usd(self) -> float:
        """What the job cost: what the platform says once it says something, our own count before that."""
        by_platform = self.job.cost_usd if self.job is not None else 0.0
        return by_platform or self.seconds * self.usd_per_hour / 3600

    def larger_machine(self) -> Machine | None:
        """Returns the cheapest machine of the tier with more memory than this one."""
        larger = [machine for machine in self.work.machines if machine.gpu_gigabytes > self.machine.gpu_gigabytes]
        return larger[0] if larger else None

    def other_machine(self) -> Machine | None:
        """Returns the next machine of the tier that has not been tried."""
        return next((machine for machine in self.work.machines if machine.slug not in self.tried), None)

    def move(self, machine: Machine) -> None:
        """Takes another machine for the next attempt."""
        self.machine = machine
        self.tried.add(machine.slug)

    def entry(self, note: str = "") -> Entry:
        """Returns what is to be remembered of the job."""
        job = self.job
        return Entry(
            key=self.work.key,
            title=self.work.title,
            job_id=job.id if job else "",
            name=job.name if job else "",
            attempt=self.attempt,
            machine=self.machine.name,
            usd_per_hour=self.usd_per_hour,
            state=job.state.value if job else "",
            cost_usd=round(self.cost_usd, 6),
            seconds=round(self.seconds, 3),
            note=note,
        )
