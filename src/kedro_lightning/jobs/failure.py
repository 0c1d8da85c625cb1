"""Why a job failed, and what can be done about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from .work import EXIT_MARK

ENVIRONMENT_DIFFERS = 78
"""Exit code of a job whose machine has other packages than ours (EX_CONFIG of sysexits.h)."""

_TIMED_OUT = (124, 137)
_MEMORY = re.compile(
    r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED|cuda runtime error \(2\)|DefaultCPUAllocator: "
    r"can't allocate memory|OOMKilled|\bMemoryError\b",
)
_CODE = re.compile(r"exit (?:code|status)[ :=]*(\d{1,3})")
_SHOWN_LINES = 12


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
    """Returns what a user is told of a failed job: the reason first, then the end of its log."""
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


def interrupted_too_often(title: str, times: int, reason: str) -> str:
    """Returns what a user is told of work that kept losing its machine."""
    return (
        f"{title}: interrupted {times} times, last since {reason}. "
        "See max_interruptions in compute.yml, or rent a machine that cannot be taken away."
    )


def no_machine(title: str, machine: str, minutes: float) -> str:
    """Returns what a user is told of work for which no machine could be had."""
    return (
        f"{title}: no machine of its tier ({machine}) could be had within {minutes:.0f} minutes. "
        "See tiers and pending_minutes in compute.yml."
    )
