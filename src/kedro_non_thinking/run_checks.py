"""What the hook checks in a run, and the evidence it keeps: configuration, parameters, datasets, inputs of nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .datasets import judge_data
from .errors import PolicyViolationError
from .findings import Finding
from .judge import Judge
from .policy import POLICY_FILE, Exemptions, Policy
from .scanner.engine import Scanner

_CONFIGURATION = (".yml", ".yaml", ".json", ".toml", ".env")


@dataclass
class Evidence:
    """What a run's hook checked and found.

    Attributes:
        checked: Names of what was checked, by kind: configuration, datasets, parameters, node inputs.
    """

    checked: dict[str, set[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0


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
                secret = "credentials" in str(file.relative_to(folder))
                if file.suffix not in _CONFIGURATION or secret or not file.is_file():
                    continue
                shown = self._scanner.shown(file)
                if file.name == POLICY_FILE:
                    if env != base:
                        yield Finding("policy-off", "an environment with a policy of its own", env).at(shown)
                    continue
                self.note("configuration", shown)
                # A broken file is not reported here: whoever loads it says what is wrong with it.
                yield from (finding for finding in self._scanner.scan_file(file).findings if finding.seen)

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

    def found_elsewhere(self, error: Exception) -> None:
        """Adds to the evidence what a process of a parallel runner found, whose own evidence ended with it."""
        with self._lock:
            if isinstance(error, PolicyViolationError):
                self.evidence.findings += [each for each in error.findings if each not in self.evidence.findings]

    def note(self, kind: str, name: str) -> None:
        """Notes in the evidence that something was checked."""
        with self._lock:
            self.evidence.checked.setdefault(kind, set()).add(name)

    def report(self) -> dict[str, Any]:
        """Returns the evidence as JSON has it: rules, what was checked, what was found, which exemptions were used."""
        findings, exemptions = self.evidence.findings, self._exemptions.used()
        return {
            "policy": "non-thinking mode is the only supported configuration",
            "kept": not findings,
            "sampling": self._policy.sampling.model_dump(),
            "rules": [
                {
                    "id": rule_id,
                    **rule.model_dump(include={"forbids", "why", "remedy"}),
                    "found": sum(finding.rule == rule_id for finding in findings),
                    "exempted": sum(entry.count for entry in exemptions if entry.rule == rule_id),
                }
                for rule_id, rule in self._policy.by_id.items()
            ],
            "checked": {kind: sorted(names) for kind, names in sorted(self.evidence.checked.items())},
            "found": [{**finding.as_dict(), "place": finding.place} for finding in findings],
            "exemptions_used": [asdict(entry) for entry in exemptions],
        }


def report_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the report as the rows of a table: one for each rule, for a page."""
    columns = ("forbids", "found", "exempted")
    return [
        {"rule": rule["id"], **{name: rule[name] for name in columns}, "result": "broken" if rule["found"] else "kept"}
        for rule in report["rules"]
    ]
