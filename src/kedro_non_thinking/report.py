"""Evidence: the rules, what was checked, what was found, which exemptions were used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .findings import Finding, ScanResult, UsedExemption
from .rules import Policy


@dataclass
class Evidence:
    """What a run's hook checked and found.

    Attributes:
        checked: Names of what was checked, by kind: configuration, datasets, parameters, node inputs.
        findings: What was found.
        seconds: How long the checks took.
    """

    checked: dict[str, dict[str, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    def note(self, kind: str, name: str) -> None:
        """Notes that something was checked."""
        names = self.checked.setdefault(kind, {})
        names[name] = names.get(name, 0) + 1


def build_report(
    policy: Policy,
    evidence: Evidence,
    exemptions: Sequence[UsedExemption] = (),
    *,
    scan: ScanResult | None = None,
    probe: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the report as JSON has it.

    Args:
        policy: The rules.
        evidence: What the hook checked.
        exemptions: The exemptions that were used.
        scan: What the scanner found, if it ran.
        probe: What a probe of a model or an endpoint found, if one ran.
    """
    findings = [*evidence.findings, *(scan.findings if scan else ())]
    used = [*exemptions, *(scan.exemptions if scan else ())]
    kept = not findings and (scan is None or scan.clean) and (probe is None or bool(probe.get("passed")))
    return {
        "policy": "non-thinking mode is the only supported configuration",
        "kept": kept,
        "sampling": policy.sampling.model_dump(),
        "rules": [
            {
                "id": rule_id,
                "forbids": rule.forbids,
                "why": rule.why,
                "remedy": rule.remedy,
                "found": sum(finding.rule == rule_id for finding in findings),
                "exempted": sum(entry.count for entry in used if entry.rule == rule_id),
            }
            for rule_id, rule in policy.by_id.items()
        ],
        "checked": {kind: sorted(names) for kind, names in sorted(evidence.checked.items())},
        "files_checked": scan.checked if scan else None,
        "files_not_checked": [asdict(entry) for entry in scan.unchecked] if scan else None,
        "found": [{**asdict(finding), "place": finding.place} for finding in findings],
        "exemptions_used": [asdict(entry) for entry in used],
        "probe": probe,
    }


def report_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the report as the rows of a table: one for each rule, for a page."""
    return [
        {
            "rule": rule["id"],
            "forbids": rule["forbids"],
            "found": rule["found"],
            "exempted": rule["exempted"],
            "result": "kept" if not rule["found"] else "broken",
        }
        for rule in report["rules"]
    ]
