"""Errors of the policy. Each message names the rule or setting, the place, the value and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .findings import Finding
    from .policy import Policy


class PolicyError(Exception):
    """The base of every error of the policy; the message alone is what a user needs."""


class PolicyFileError(PolicyError):
    """``policy.yml`` is missing a rule, a reason or a path, or has a key or a value that is not allowed."""


class PolicyViolationError(PolicyError):
    """Something would make the model think; the run stops here."""

    def __init__(self, findings: Sequence[Finding], policy: Policy, *, limit: int = 10) -> None:
        """Builds the message: rule, place, value and remedy of the first ``limit`` findings."""
        self.findings = tuple(findings)
        lines = [f"Non-thinking policy: {len(self.findings)} violation{'s' if len(self.findings) != 1 else ''}."]
        for finding in self.findings[:limit]:
            lines.append(f"  {finding.rule} at {finding.place}: {finding.message}")
            if finding.value:
                lines.append(f"    value:  {finding.value}")
            lines.append(f"    remedy: {policy.by_id[finding.rule].remedy}")
        if len(self.findings) > limit:
            lines.append(f"  and {len(self.findings) - limit} more; 'kedro policy check' lists them.")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        """Leaves a process of a parallel runner with the message that was built there."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


class UncheckableError(Exception):
    """A file cannot be judged; the message says why. The scanner reports it and never counts the file as clean."""
