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


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        (4.0, 3600),  # an even share for each of four
        (0.4, 1440),  # a share of 360 s would not do for 600: all of it
        (40.0, 7200),  # no longer than the tier allows
        (float("inf"), 7200),
    ],
)
def test_a_job_may_take_an_even_share_or_all_where_that_is_too_little(budget: float, seconds: int) -> None:
    assert RunBudget(budget).limit(1.0, 7200, 600, sharers=4) == seconds


def test_what_is_reserved_is_not_free_until_it_is_settled() -> None:
    money = RunBudget(3.0, spent_usd=0.5)
    money.reserve("a", 1.0, 3600)
    money.reserve("b", 1.0, 1800)
    assert money.free_usd == pytest.approx(1.0)
    money.settle("a", 0.25)
    assert (money.spent_usd, money.free_usd) == pytest.approx((0.75, 1.75))
