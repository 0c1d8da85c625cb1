"""How a request ended: the one place that each passes, whether it was answered, refused or given up."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from urllib.parse import quote

_LOG = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What is known of a request when it has ended.

    Attributes:
        status: HTTP status; 499 where the client went away first (nginx's convention), 0 where nothing was said.
        code: The reason of a refusal; empty for an answer.
        rule: The policy's rule that forbids it; empty where none does.
        key: Name of the key it came with; empty where none is needed or known.
        completion_tokens: Tokens generated, end tokens included.
        finish_reasons: Why each choice ended.
        seconds: From its first line to the last byte of the response.
    """

    method: str
    path: str
    status: int = 0
    code: str = ""
    rule: str = ""
    key: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reasons: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def logged_path(self) -> str:
        """The path with whatever is no plain character escaped: a line break in it would be a line of the log."""
        return quote(self.path, safe="/:@")


def finished(outcome: Outcome) -> None:
    """Takes note of a request that has ended: one line of the log. No text of a question or an answer is in it."""
    _LOG.log(
        logging.DEBUG if outcome.path == "/health" else logging.INFO,
        "%s %s %d%s%s %d tokens %.0f ms",
        outcome.method,
        outcome.logged_path,
        outcome.status,
        f" {outcome.code}" if outcome.code else "",
        f" key={outcome.key}" if outcome.key else "",
        outcome.completion_tokens,
        outcome.seconds * 1000,
    )
