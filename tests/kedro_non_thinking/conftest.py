"""Fixtures of the tests of the policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedro_non_thinking.judge import Judge
from kedro_non_thinking.policy import Policy, load_policy
from kedro_non_thinking.scanner.engine import Scanner

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
