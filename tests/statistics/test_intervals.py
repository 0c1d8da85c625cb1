import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from spelling_transfer.statistics.intervals import (
    NO_INTERVAL,
    Interval,
    clustered_wilson_interval,
    percentile_interval,
    ratio_interval,
    t_interval,
    wilson_interval,
)

Z = norm.ppf(0.975)


# The four examples of R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in
# Medicine 17 (1998), table I, score method without continuity correction.
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_ends_are_where_the_score_test_just_rejects(case: tuple[int, int]) -> None:
    successes, n = case
    share = successes / n

    def score(true: float) -> float:
        return (share - true) ** 2 - Z**2 * true * (1 - true) / n

    interval = wilson_interval(successes, n)
    low = 0.0 if successes == 0 else brentq(score, 0, share - 1e-9)
    high = 1.0 if successes == n else brentq(score, share + 1e-9, 1)
    assert interval == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize("right", [[1, 0, 1, 1, 0, 0, 1], [1] * 5, [0] * 5])
def test_an_item_a_cluster_gives_wilsons_interval(right: list[int]) -> None:
    assert clustered_wilson_interval(right, range(len(right))) == pytest.approx(
        tuple(wilson_interval(sum(right), len(right)))
    )


def test_items_that_repeat_each_other_count_as_one() -> None:
    # Five words right and five wrong, asked four times each: the design effect is 10/9 · 40/1600 / (1/4 / 39) = 13/3.
    right, word = np.repeat([1, 0] * 5, 4), np.repeat(np.arange(10), 4)
    size = 40 / (13 / 3)
    half = Z * np.sqrt(1 / 4 / size + (Z / 2 / size) ** 2) / (1 + Z**2 / size)
    assert tuple(clustered_wilson_interval(right, word)) == pytest.approx((0.5 - half, 0.5 + half))
    low, high = clustered_wilson_interval(right, word)
    alone = wilson_interval(20, 40)
    assert low < alone.low < alone.high < high
    assert tuple(clustered_wilson_interval([1] * 40, word)) == pytest.approx(tuple(wilson_interval(10, 10)))
    assert np.isnan(clustered_wilson_interval([], [])).all()


def test_no_answers_give_no_interval_and_no_claim() -> None:
    interval = wilson_interval(0, 0)
    assert np.isnan(interval).all()
    assert not interval.excludes(0)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(0.01, 0.1), "up"),
        (Interval(-0.1, -0.01), "down"),
        (Interval(-0.1, 0.1), "unclear"),
        (Interval(0.0, 0.1), "unclear"),
        (Interval(0.0, 0.0), "unclear"),
        (NO_INTERVAL, "unclear"),
    ],
)
def test_a_verdict_needs_an_interval_that_excludes_zero(interval: Interval, expected: str) -> None:
    assert interval.verdict == expected
    assert interval.excludes(0) is (expected != "unclear")


def test_students_interval_by_hand() -> None:
    # Mean 2, standard deviation 1, and t = 4.303 at 2 degrees of freedom.
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    for certain in ([1.0], [0.7, 0.7, 0.7]):
        assert t_interval(certain) is NO_INTERVAL


def test_one_undefined_resample_leaves_no_percentile_interval() -> None:
    values = np.linspace(0, 1, 1_000)
    assert percentile_interval(values) == pytest.approx((0.025, 0.975))
    for undefined in (np.inf, -np.inf, np.nan):
        assert np.isnan(percentile_interval(np.append(values, undefined))).all()
    assert np.isnan(percentile_interval(np.array([]))).all()


def test_a_ratio_may_divide_by_nothing_in_the_tails_and_no_further() -> None:
    values = np.linspace(0, 1, 1_000)
    assert ratio_interval(values) == pytest.approx((0.025, 0.975), abs=0.002)
    rare = np.concatenate([values, [np.inf] * 10, [np.nan] * 10])
    assert ratio_interval(rare) == pytest.approx((0.025, 0.985), abs=0.005)
    assert np.isnan(ratio_interval(np.concatenate([values, [np.inf] * 60]))).all()
    assert np.isnan(ratio_interval(np.concatenate([values, [np.nan] * 60]))).all()
    assert np.isnan(ratio_interval(np.array([]))).all()
