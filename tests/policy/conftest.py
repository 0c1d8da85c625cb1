"""Fixtures of the tests of the policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from spelling_transfer.policy.judge import Judge
from spelling_transfer.policy.loading import load_policy
from spelling_transfer.policy.rules import Policy
from spelling_transfer.policy.scanner.engine import Scanner

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def policy() -> Policy:
    """The rules that come with the plugin, without the exemptions of this project."""
    return load_policy()


@pytest.fixture(scope="session")
def judge(policy: Policy) -> Judge:
    """The rules, ready to be applied."""
    return Judge(policy)


@pytest.fixture
def scanner(policy: Policy, tmp_path: Path) -> Scanner:
    """A scanner of an empty project."""
    return Scanner(policy, tmp_path)
