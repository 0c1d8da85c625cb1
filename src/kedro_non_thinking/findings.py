"""What a check found, and what it could not look at."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import attrgetter

_LONGEST_VALUE = 120


@dataclass(frozen=True)
class Finding:
    """One violation of one rule. The rules make it; whoever knows the place adds it with :meth:`at`.

    Attributes:
        message: What is wrong, in one sentence.
        value: The offending text or value, shortened.
        line: The line in the text that was judged, then in the file, counted from 1; 0 where there are no lines.
        path: The file, or ``dataset:NAME``, ``parameter:NAME``, ``node:NAME`` for what a hook looked at.
        seen: Whether it is certainly a violation; if not, it is listed as what the scanner cannot see.
    """

    rule: str
    message: str
    value: str = ""
    line: int = 1
    path: str = ""
    seen: bool = True

    @property
    def place(self) -> str:
        """Where it is, as ``path:line``."""
        return f"{self.path}:{self.line}" if self.line else self.path

    def at(self, path: str, first_line: int = 0) -> Finding:
        """Returns the finding with its place: what was judged begins in this line, or has no lines if it is 0."""
        return replace(self, path=path, line=first_line + self.line - 1 if first_line else 0)

    def as_dict(self) -> dict[str, str | int]:
        """Returns the finding as JSON has it."""
        return {name: getattr(self, name) for name in ("path", "line", "rule", "message", "value")}


by_place = attrgetter("path", "line", "rule", "message", "value")
"""Returns what findings are sorted by."""


@dataclass(frozen=True, order=True)
class Unchecked:
    """A file that was not judged, which is not the same as clean.

    Attributes:
        reason: Why it was not judged.
        blocking: Whether it makes the check fail. Files that cannot hold text (images, weights) do not.
    """

    path: str
    reason: str
    blocking: bool = True


@dataclass(frozen=True)
class UsedExemption:
    """An exemption that let a violation pass.

    Attributes:
        path: The pattern in ``policy.yml``.
        reason: Why it is allowed.
        count: How many violations it let pass.
    """

    rule: str
    path: str
    reason: str
    count: int


@dataclass
class FileReport:
    """What the scanner says about one file."""

    path: str
    findings: list[Finding] = field(default_factory=list)
    unchecked: Unchecked | None = None


@dataclass(frozen=True)
class ScanResult:
    """What the scanner says about many files.

    Attributes:
        findings: Violations, sorted by place.
        unchecked: Files that were not judged.
        checked: How many files were read and judged.
        exemptions: The exemptions that were used.
        notes: What a reader should know of how the files were found.
        cannot_see: Where a violation depends on what is only known elsewhere; they do not make the check fail.
    """

    findings: tuple[Finding, ...]
    unchecked: tuple[Unchecked, ...]
    checked: int
    exemptions: tuple[UsedExemption, ...]
    notes: tuple[str, ...] = ()
    cannot_see: tuple[Finding, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing was found and every file that can hold text was judged."""
        return not self.findings and not any(entry.blocking for entry in self.unchecked)


def shorten(value: object) -> str:
    """Returns a value as one short line for a message."""
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
