"""Why a job failed, from its log and from what the platform says."""

from __future__ import annotations

import pytest

from kedro_lightning.jobs.logs import Cause, cause_of


@pytest.mark.parametrize(
    ("message", "lines", "seconds", "cause"),
    [
        ("exit code 1", ["RuntimeError: CUDA out of memory. Tried to allocate"], 5, Cause.MEMORY),
        ("exit code 137", [], 5, Cause.MEMORY),
        ("exit code 1", ["Error: Out of memory with examples of up to 40 tokens"], 5, Cause.MEMORY),
        ("exit code 1", ["Error: Memory ran out. Close other programs"], 5, Cause.MEMORY),
        ("exit code 137", [], 100, Cause.TIME),
        ("exit code 124", [], 100, Cause.TIME),
        ("", ["kedro-compute: exit 78"], 5, Cause.ENVIRONMENT),
        ("exit code 1", ["ValueError: memory of a word"], 5, Cause.ERROR),
        ("", [], 5, Cause.ERROR),
    ],
)
def test_the_cause_of_a_failure(message: str, lines: list[str], seconds: float, cause: Cause) -> None:
    assert cause_of(message, lines, seconds, 100) is cause
