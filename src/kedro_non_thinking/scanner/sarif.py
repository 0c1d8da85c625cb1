"""Findings as SARIF 2.1.0, which code hosts show beside the lines: https://docs.oasis-open.org/sarif/sarif/v2.1.0/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..exemptions import UNUSED
from ..findings import Finding, ScanResult, Unchecked
from ..rules import Policy

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(result: ScanResult, policy: Policy, root: Path) -> dict[str, Any]:
    """Returns a scan as a SARIF log; files that could not be judged are notifications of the run."""
    rule_ids = [*policy.by_id, UNUSED]
    return {
        "$schema": _SCHEMA,
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
                        "toolExecutionNotifications": [_notification(entry) for entry in result.unchecked],
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
    rule = policy.rule(rule_id)
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
        "locations": [_location(entry.path, 0)],
    }


def _location(path: str, line: int) -> dict[str, Any]:
    file = path.split("#", 1)[0]
    artifact = {"uri": Path(file).as_uri()} if file.startswith("/") else {"uri": file, "uriBaseId": "ROOT"}
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": max(line, 1)}}}
