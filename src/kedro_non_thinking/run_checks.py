"""What the hook checks in a run, and the evidence it keeps: configuration, parameters, datasets, inputs of nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .errors import PolicyViolationError
from .exemptions import Exemptions
from .findings import Finding
from .frames import judge_data
from .judge import Judge
from .keys import Problem
from .loading import POLICY_FILE
from .report import Evidence, build_report
from .rules import Policy
from .scanner.engine import Scanner

_CONFIGURATION = (".yml", ".yaml", ".json", ".toml", ".env")


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
                        yield Finding(shown, 0, "policy-off", "an environment with a policy of its own", env)
                    continue
                self.note("configuration", shown)
                # A broken file is not reported here: whoever loads it says what is wrong with it.
                yield from self._scanner.scan_file(file).findings

    def tree(self, place: str, value: Any, kind: str, *, deployment: bool = False) -> Iterator[Finding]:
        """Yields what is wrong with nested settings."""
        self.note(kind, place)
        for path, problem in self._judge.tree(value, deployment=deployment):
            inside = ".".join(str(part) for part in path)
            yield _finding(f"{place}.{inside}" if inside else place, problem)

    def data(
        self, place: str, data: Any, kind: str, *, deployment: bool = False, exported: bool = False
    ) -> Iterator[Finding]:
        """Yields what is wrong with what a dataset holds."""
        self.note(kind, place)
        for inside, problem in judge_data(data, self._judge, deployment=deployment, exported=exported):
            yield _finding(f"{place}#{inside}" if inside else place, problem)

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


def _finding(place: str, problem: Problem) -> Finding:
    return Finding(place, 0, problem.rule, problem.message, problem.value)
