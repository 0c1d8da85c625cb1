"""Exemptions: which violations they let pass, and which of them are not needed any more."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from .findings import Finding, UsedExemption
from .rules import Exemption, Policy

UNUSED = "exemption-unused"
MATERIAL = "test-material"


class Exemptions:
    """The exemptions of a policy, and how often each was used."""

    def __init__(self, policy: Policy) -> None:
        self._by_rule = {rule_id: rule.exemptions for rule_id, rule in policy.by_id.items()}
        self._material = policy.scan.test_material
        self._used: Counter[tuple[str, Exemption]] = Counter()

    def filter(self, findings: Iterable[Finding]) -> list[Finding]:
        """Returns the findings that no exemption lets pass."""
        left = []
        for finding in findings:
            exemption = next((e for e in self._by_rule[finding.rule] if matches(e.path, finding.path)), None)
            if exemption is None:
                left.append(finding)
            else:
                self._used[finding.rule, exemption] += 1
        return left

    def is_material(self, path: str) -> bool:
        """Returns whether a file is test material of the policy itself, which is not read."""
        entry = next((entry for entry in self._material if matches(entry.path, path)), None)
        if entry is not None:
            self._used[MATERIAL, entry] += 1
        return entry is not None

    def used(self) -> tuple[UsedExemption, ...]:
        """Returns the exemptions that let something pass."""
        return tuple(
            UsedExemption(rule, exemption.path, exemption.reason, count)
            for (rule, exemption), count in sorted(self._used.items(), key=lambda item: (item[0][0], item[0][1].path))
        )

    def unused(self, scanned: Sequence[str], policy_path: str, *, everything: bool) -> list[Finding]:
        """Returns a finding for each exemption that is not needed.

        Args:
            scanned: The files that were read.
            policy_path: Where the exemptions are written.
            everything: Whether the whole project was read, so that a path that matches no file is wrong, too.
        """
        findings = []
        for rule_id, exemptions in (*self._by_rule.items(), (MATERIAL, self._material)):
            for exemption in exemptions:
                if self._used[rule_id, exemption] or exemption.path.startswith("dataset:"):
                    continue
                if everything or any(matches(exemption.path, path) for path in scanned):
                    message = f"the exemption of {rule_id} lets nothing pass any more"
                    findings.append(Finding(policy_path, 0, UNUSED, message, exemption.path))
        return findings


def matches(pattern: str, path: str) -> bool:
    """Returns whether a path, with forward slashes, matches a glob; ``**`` stands for any number of folders."""
    return _compile(pattern).fullmatch(path.split("#", 1)[0]) is not None


def matches_any(patterns: Iterable[str], path: str) -> bool:
    """Returns whether a path matches one of the globs and none of those that begin with ``!``."""
    patterns = list(patterns)
    if any(matches(pattern[1:], path) for pattern in patterns if pattern.startswith("!")):
        return False
    return any(matches(pattern, path) for pattern in patterns if not pattern.startswith("!"))


@lru_cache(maxsize=512)
def _compile(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.removeprefix("./"))
    signs = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    text = "".join(signs.get(part, re.escape(part)) for part in parts)
    return re.compile(text + (r".*" if pattern.endswith("/") else ""))
