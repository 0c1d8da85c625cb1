"""The money of a run."""

from __future__ import annotations

import pytest
from tests.kedro_lightning.conftest import T4

from kedro_lightning.jobs.starting import RunBudget


@pytest.mark.parametrize("budget", [0.5, 3.0])
def test_no_more_is_reserved_than_there_is(budget: float) -> None:
    money = RunBudget(budget)
    for number in range(20):
        limit = money.limit(T4.usd_per_hour, 7200, 600, sharers=4)
        if limit < 60:
            break
        money.reserve(str(number), T4.usd_per_hour, limit)
    assert money.free_usd >= 0
    assert number > 0
