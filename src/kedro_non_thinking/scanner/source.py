"""One file as the scanner sees it, whatever its form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..findings import Finding
from ..keys import Problem
from ..text import line_of


class UncheckableError(Exception):
    """A file cannot be judged; the message says why."""


@dataclass(frozen=True)
class Source:
    """A text with its place.

    Attributes:
        path: What findings call it.
        text: The whole text.
        deployment: Whether it belongs to a deployment, where sampling values are fixed.
        first_line: The line of the file in which the text begins, counted from 1.
        snippet: Whether it is a part of a document, which may be incomplete without being broken.
    """

    path: str
    text: str
    deployment: bool = False
    first_line: int = 1
    snippet: bool = False

    def part(self, text: str, first_line: int) -> Source:
        """Returns a piece of this source; ``first_line`` counts from 1 within this source."""
        return Source(self.path, text, self.deployment, self.first_line + first_line - 1, snippet=True)

    def finding(self, problem: Problem, line: int) -> Finding:
        """Returns a problem at a line of this source."""
        return Finding(self.path, self.first_line + line - 1, problem.rule, problem.message, problem.value)

    def findings(self, problems: Iterable[Problem], normalised: str) -> list[Finding]:
        """Returns problems whose offsets count in the normalised text."""
        return [self.finding(problem, line_of(normalised, problem.offset)) for problem in problems]
