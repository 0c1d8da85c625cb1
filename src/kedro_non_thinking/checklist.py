"""The team checklist of the document, made from the rules so that it cannot fall behind them."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import PolicyError
from .policy import Policy

BEGIN = "<!-- checklist: made by 'kedro policy checklist --write' -->"
END = "<!-- end of checklist -->"


def checklist(policy: Policy) -> str:
    """Returns the checklist, the rules and the exemptions as Markdown."""
    lines = ["### Before you merge or deploy", ""]
    lines += [f"- [ ] {rule.check} (`{rule_id}`)" for rule_id, rule in policy.by_id.items()]
    lines += ["- [ ] `kedro policy check` ends with exit code 0."]
    lines += ["- [ ] After a merge of an adapter and before a release, `kedro policy probe URL` passes.", ""]
    lines += ["### What the rules forbid", "", "| rule | forbidden | because | instead |", "|---|---|---|---|"]
    for rule_id, rule in policy.by_id.items():
        remedy = rule.remedy.replace("|", "\\|")
        lines.append(f"| `{rule_id}` | {rule.forbids} | {rule.why} | {remedy} |")
    lines += ["", "### Exemptions", ""]
    exempted = [(rule_id, e) for rule_id, rule in policy.by_id.items() for e in rule.exemptions]
    lines += [f"- `{e.path}` from `{rule_id}`: {e.reason}" for rule_id, e in exempted] or ["There are none."]
    return "\n".join(lines) + "\n"


def in_step(text: str, policy: Policy) -> str:
    """Returns the document with its checklist made anew.

    Raises:
        PolicyError: The document lacks the two lines between which the checklist stands.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise PolicyError(f"the document needs the lines {BEGIN!r} and {END!r}; the checklist goes between them.")
    return f"{before}{BEGIN}\n\n{checklist(policy)}\n{END}{after}"


def write_checklist(file: Path, policy: Policy) -> bool:
    """Brings the checklist of a document up to date and returns whether it changed.

    Raises:
        PolicyError: The document cannot be read or written, or has no place for the checklist.
    """
    try:
        old = file.read_text(encoding="utf-8")
    except OSError as error:
        needed = f"--document names another, which needs the lines {BEGIN!r} and {END!r}"
        raise PolicyError(f"{file}: cannot be read ({error.strerror}). {needed}.") from error
    new = in_step(old, policy)
    if new == old:
        return False
    try:
        _write_whole(file, new)
    except OSError as error:
        raise PolicyError(f"{file}: cannot be written ({error.strerror}); it was not changed.") from error
    return True


def _write_whole(file: Path, text: str) -> None:
    """Writes a file so that it is there whole or as it was: under another name first, flushed to the disk, renamed."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
