"""One thing that was checked of an endpoint."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        id: Stable name, ``group/what``.
        requirement: What must hold, in a sentence.
        passed: Whether it did.
        evidence: What was seen: status, code and message of a refusal, or the answer.
    """

    id: str
    requirement: str
    passed: bool
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Returns the check as plain data."""
        return asdict(self)
