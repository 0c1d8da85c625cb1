"""Fixtures of the tests of the policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedro_non_thinking.findings import Finding
from kedro_non_thinking.judge import Judge
from kedro_non_thinking.policy import Policy, load_policy
from kedro_non_thinking.scanner.engine import Scanner

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / "src/kedro_non_thinking/default_policy.yml"


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The rules that come with the plugin, without the exemptions of this project."""
    return load_policy()


@pytest.fixture(scope="session")
def judge(policy: Policy) -> Judge:
    """The rules, ready to be applied."""
    return Judge(policy)


def seen(scanner: Scanner, text: str, path: str) -> list[Finding]:
    """Returns the violations in a text, as if it were a file of this path."""
    return [finding for finding in scanner.look_at(text, path) if finding.seen]


@pytest.fixture
def scanner(policy: Policy, tmp_path: Path) -> Scanner:
    """A scanner of an empty project."""
    return Scanner(policy, tmp_path)
