"""What a scan found, as text for a reader, as JSON for a program, and as SARIF for a code host."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..findings import Finding, ScanResult, Unchecked
from ..policy import UNUSED, Policy

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def remedy(rule_id: str, policy: Policy) -> str:
    """Returns what to do about a finding of a rule."""
    return "Take the exemption out of policy.yml." if rule_id == UNUSED else policy.by_id[rule_id].remedy


def to_json(result: ScanResult, policy: Policy) -> dict[str, Any]:
    """Returns a scan as ``kedro policy check --format json`` prints it."""
    return {
        "clean": result.clean,
        "checked": result.checked,
        "findings": [{**finding.as_dict(), "remedy": remedy(finding.rule, policy)} for finding in result.findings],
        "not_checked": [asdict(entry) for entry in result.unchecked],
        "exemptions_used": [asdict(entry) for entry in result.exemptions],
        "notes": list(result.notes),
        "cannot_see": [finding.as_dict() for finding in result.cannot_see],
    }


def to_text(result: ScanResult, policy: Policy) -> str:
    """Returns a scan for a reader: violations by place, what to do about each rule, what was not judged, and counts."""
    lines = [
        f"{finding.place}: {finding.rule}: {finding.message}" + (f" ({finding.value})" if finding.value else "")
        for finding in result.findings
    ]
    found = dict.fromkeys(finding.rule for finding in result.findings)
    lines += [f"  {rule_id}: {remedy(rule_id, policy)}" for rule_id in found]
    lines += [f"{entry.path}: not checked: {entry.reason}" for entry in result.unchecked if entry.blocking]
    if result.cannot_see:
        lines.append("What the scanner cannot check; check it yourself, no violation is counted:")
        lines += [f"  {finding.place}: {finding.message} ({finding.value})" for finding in result.cannot_see]
    blocking = sum(entry.blocking for entry in result.unchecked)
    count = len(result.findings)
    parts = [f"{result.checked} files checked", f"{count} violation{'' if count == 1 else 's'}"]
    if blocking:
        parts.append(f"{blocking} could not be judged")
    if len(result.unchecked) > blocking:
        parts.append(f"{len(result.unchecked) - blocking} hold no text and were not checked")
    if result.exemptions:
        parts.append(f"{len(result.exemptions)} exemptions in use")
    # A name or a value of somebody else's may neither write lines of its own nor command a terminal.
    lines = [*lines, *result.notes]
    lines = ["".join(character if character.isprintable() else "\ufffd" for character in line) for line in lines]
    return "\n".join([*lines, ", ".join(parts) + "."])


# -- SARIF 2.1.0, which code hosts show beside the lines: https://docs.oasis-open.org/sarif/sarif/v2.1.0/ --------------


def to_sarif(result: ScanResult, policy: Policy, root: Path) -> dict[str, Any]:
    """Returns a scan as a SARIF log; files that could not be judged are notifications of the run."""
    rule_ids = [*policy.by_id, UNUSED]
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "kedro policy check", "rules": [_rule(rule_id, policy) for rule_id in rule_ids]}
                },
                "originalUriBaseIds": {"ROOT": {"uri": root.resolve().as_uri() + "/"}},
                "results": [_result(finding, rule_ids) for finding in result.findings],
                "invocations": [
                    {
                        "executionSuccessful": not any(entry.blocking for entry in result.unchecked),
                        "toolExecutionNotifications": [
                            *map(_notification, result.unchecked),
                            *({"level": "note", "message": {"text": note}} for note in result.notes),
                            *map(_unseen, result.cannot_see),
                        ],
                    }
                ],
                "columnKind": "unicodeCodePoints",
            }
        ],
    }


def _rule(rule_id: str, policy: Policy) -> dict[str, Any]:
    if rule_id == UNUSED:
        text = "An exemption that lets nothing pass any more."
        return {"id": UNUSED, "shortDescription": {"text": text}, "help": {"text": "Take it out of policy.yml."}}
    rule = policy.by_id[rule_id]
    return {
        "id": rule_id,
        "shortDescription": {"text": rule.forbids},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": "error"},
    }


def _result(finding: Finding, rule_ids: list[str]) -> dict[str, Any]:
    text = f"{finding.message}: {finding.value}" if finding.value else finding.message
    return {
        "ruleId": finding.rule,
        "ruleIndex": rule_ids.index(finding.rule),
        "level": "error",
        "message": {"text": text},
        "locations": [_location(finding.path, finding.line)],
    }


def _notification(entry: Unchecked) -> dict[str, Any]:
    return {
        "level": "error" if entry.blocking else "note",
        "message": {"text": f"not checked: {entry.reason}"},
        "locations": [_location(entry.path, 1)],
    }


def _unseen(finding: Finding) -> dict[str, Any]:
    text = f"cannot be seen: {finding.message} ({finding.value})"
    return {"level": "note", "message": {"text": text}, "locations": [_location(finding.path, finding.line)]}


def _location(path: str, line: int) -> dict[str, Any]:
    file = path if line else path.split("#", 1)[0]  # what is inside a table has no line
    artifact = {"uri": Path(file).as_uri()} if file.startswith("/") else {"uri": quote(file), "uriBaseId": "ROOT"}
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": max(line, 1)}}}
