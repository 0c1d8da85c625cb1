"""What a job is to do, what became of it, and how it is called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..platform.jobs import MARK, JobView, tag_name
from ..platform.machines import Machine

EXIT_MARK = "kedro-compute: exit "
"""What a job prints last, with its exit code; the driver then looks at once instead of at the next round."""

_NAME_LENGTH = 60


@dataclass(frozen=True)
class Attempt:
    """One try at a piece of work: its number from 1, the machine, and the seconds it may take."""

    number: int
    machine: Machine
    limit_seconds: int


@dataclass(frozen=True)
class Work:
    """A piece of work for one job.

    ``command`` gets the attempt and returns the shell script; it must go on where an earlier attempt was cut off.
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

    key: str
    job: JobView
    machine: Machine
    attempts: int
    seconds: float


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
