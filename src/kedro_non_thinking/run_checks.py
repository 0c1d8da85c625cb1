"""What the hook checks in a run, and the evidence it keeps: configuration, parameters, datasets, inputs of nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .datasets import judge_data
from .errors import PolicyViolationError
from .findings import Finding, UsedExemption
from .judge import Judge
from .policy import POLICY_FILE, Exemptions, Policy
from .scanner.engine import Scanner

_CONFIGURATION = (".yml", ".yaml", ".json", ".toml", ".env")


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


class RunChecks:
    """The checks of one run under one policy. May be used by several threads at once."""

    def __init__(self, policy: Policy, project: Path) -> None:
        self._policy = policy
        self._judge = Judge(policy)
        self._scanner = Scanner(policy, project)
        self._exemptions = Exemptions(policy)
        self._lock = threading.Lock()
        self.evidence = Evidence()

    def configuration_files(self, source: Path, envs: Iterable[str], base: str) -> Iterator[Finding]:
        """Yields what is wrong with the configuration files of environments; credentials are not read."""
        for env in dict.fromkeys(envs):
            folder = source / env
            for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
                if file.suffix not in _CONFIGURATION or "credentials" in file.name or not file.is_file():
                    continue
                shown = self._scanner.shown(file)
                if file.name == POLICY_FILE:
                    if env != base:
                        yield Finding("policy-off", "an environment with a policy of its own", env).at(shown)
                    continue
                self.note("configuration", shown)
                # A broken file is not reported here: whoever loads it says what is wrong with it.
                yield from self._scanner.scan_file(file).findings

    def tree(self, place: str, value: Any, kind: str, *, deployment: bool = False) -> Iterator[Finding]:
        """Yields what is wrong with nested settings."""
        self.note(kind, place)
        for keys, finding in self._judge.tree(value, deployment=deployment):
            yield finding.at(".".join([place, *map(str, keys)]))

    def data(
        self, place: str, data: Any, kind: str, *, deployment: bool = False, exported: bool = False
    ) -> Iterator[Finding]:
        """Yields what is wrong with what a dataset holds."""
        self.note(kind, place)
        for inside, finding in judge_data(data, self._judge, deployment=deployment, exported=exported):
            yield finding.at(f"{place}#{inside}" if inside else place)

    def settle(self, findings: Iterable[Finding]) -> None:
        """Goes through findings, notes how long that took, and stops the run at those that no exemption covers.

        Raises:
            PolicyViolationError: Something was found.
        """
        started = time.perf_counter()
        found = list(findings)
        with self._lock:
            left = self._exemptions.filter(found) if found else []
            self.evidence.seconds += time.perf_counter() - started
            self.evidence.findings += left
        if left:
            raise PolicyViolationError(left, self._policy)

    def report(self) -> dict[str, Any]:
        """Returns the evidence as JSON has it."""
        return build_report(self._policy, self.evidence, self._exemptions.used())

    def note(self, kind: str, name: str) -> None:
        """Notes in the evidence that something was checked."""
        with self._lock:
            self.evidence.note(kind, name)


def build_report(policy: Policy, evidence: Evidence, exemptions: Sequence[UsedExemption] = ()) -> dict[str, Any]:
    """Returns a run's evidence as JSON has it.

    Args:
        policy: The rules.
        evidence: What the hook checked.
        exemptions: The exemptions that were used.
    """
    findings = evidence.findings
    return {
        "policy": "non-thinking mode is the only supported configuration",
        "kept": not findings,
        "sampling": policy.sampling.model_dump(),
        "rules": [
            {
                "id": rule_id,
                "forbids": rule.forbids,
                "why": rule.why,
                "remedy": rule.remedy,
                "found": sum(finding.rule == rule_id for finding in findings),
                "exempted": sum(entry.count for entry in exemptions if entry.rule == rule_id),
            }
            for rule_id, rule in policy.by_id.items()
        ],
        "checked": {kind: sorted(names) for kind, names in sorted(evidence.checked.items())},
        # A run scans no files and probes no model; readers of this format find nothing under these names.
        "files_checked": None,
        "files_not_checked": None,
        "found": [{**finding.as_dict(), "place": finding.place} for finding in findings],
        "exemptions_used": [asdict(entry) for entry in exemptions],
        "probe": None,
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
