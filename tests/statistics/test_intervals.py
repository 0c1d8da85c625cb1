import itertools
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from spelling_transfer.statistics.intervals import (
    NO_INTERVAL,
    Interval,
    family_bootstrap,
    family_totals,
    gap_closed,
    gap_closed_interval,
    mcnemar_exact,
    newcombe_paired_interval,
    paired_difference,
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


@settings(deadline=None)  # the first call imports scipy.stats
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


def test_no_answers_give_no_interval_and_no_claim() -> None:
    interval = wilson_interval(0, 0)
    assert np.isnan(interval).all()
    assert not interval.excludes(0)


@pytest.mark.parametrize(
    ("interval", "excludes"),
    [((0.01, 0.2), True), ((-0.2, -0.01), True), ((-0.1, 0.1), False), ((0.0, 0.1), False), ((0.0, 0.0), False)],
)
def test_an_interval_that_touches_zero_does_not_exclude_it(interval: tuple[float, float], excludes: bool) -> None:
    assert Interval(*interval).excludes(0) is excludes


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_share_of_coin_sequences_at_least_as_uneven(first: int, second: int) -> None:
    m = first + second
    as_uneven = sum(comb(m, k) for k in range(m + 1) if abs(2 * k - m) >= abs(first - second))
    assert mcnemar_exact(first, second) == pytest.approx(as_uneven / 2**m)


def test_mcnemar_by_hand() -> None:
    # 1 against 5: 2 * (C(6,0) + C(6,1)) / 2^6
    assert mcnemar_exact(1, 5) == pytest.approx(14 / 64)
    assert mcnemar_exact(0, 0) == 1.0


def test_newcombe_by_hand() -> None:
    # 36 both right, 2 only the reference, 12 only the arm, none wrong: the association is negative (36*0 - 2*12 = -24),
    # so no continuity correction applies, and phi = -24 / sqrt(38 * 12 * 48 * 2).
    phi = -24 / sqrt(38 * 12 * 48 * 2)
    (l1, u1), (l2, u2) = wilson_interval(38, 50), wilson_interval(48, 50)
    low = 0.2 - sqrt((0.96 - l2) ** 2 - 2 * phi * (0.96 - l2) * (u1 - 0.76) + (u1 - 0.76) ** 2)
    high = 0.2 + sqrt((u2 - 0.96) ** 2 - 2 * phi * (u2 - 0.96) * (0.76 - l1) + (0.76 - l1) ** 2)
    interval = newcombe_paired_interval(both=36, only_reference=2, only_arm=12, neither=0)
    assert interval == pytest.approx((low, high), abs=1e-9)
    assert interval == pytest.approx((0.0569, 0.3404), abs=5e-5)


@settings(deadline=None)
@given(*[st.integers(0, 40)] * 4)
def test_newcombe_is_mirrored_when_the_arms_change_places(both: int, first: int, second: int, neither: int) -> None:
    interval = newcombe_paired_interval(both, first, second, neither)
    mirrored = newcombe_paired_interval(both, second, first, neither)
    assert interval == pytest.approx((-mirrored.high, -mirrored.low), nan_ok=True)
    if both + first + second + neither:
        assert -1 - 1e-9 <= interval.low <= interval.high <= 1 + 1e-9


def test_bootstrap_agrees_with_every_possible_resample() -> None:
    # Five families: all 5^5 resamples can be listed, and their 2.5% and 97.5% points are what the bootstrap estimates.
    change, n = np.array([1.0, 0.0, 2.0, -1.0, 1.0]), np.array([2.0, 1.0, 2.0, 1.0, 3.0])
    draws = np.array(list(itertools.product(range(5), repeat=5)))
    every = change[draws].sum(axis=1) / n[draws].sum(axis=1)
    interval = family_bootstrap(np.stack([change, n], axis=1), lambda change, n: change / n, n_resamples=40_000)
    for end, level in zip(interval, (0.025, 0.975), strict=True):
        # The listed values are few, so the end must be one whose step in the distribution holds the level.
        assert (every < end - 1e-9).mean() <= level + 0.005
        assert (every <= end + 1e-9).mean() >= level - 0.005


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    totals = np.random.default_rng(0).random((30, 2))
    first, again, other = (family_bootstrap(totals, lambda a, b: a / b, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_repeating_a_familys_examples_does_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(3)
    reference, arm, families = rng.random(80) < 0.5, rng.random(80) < 0.6, np.arange(80)
    once = paired_difference(reference, arm, families)
    repeated = paired_difference(*(np.repeat(column, 4) for column in (reference, arm, families)))
    assert repeated.interval == pytest.approx(once.interval)
    assert (once.n, repeated.n, repeated.families) == (80, 320, 80)


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    # True difference 0.15, families of three examples that rise or fall together.
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        gains = np.repeat(rng.choice([1, 0, -1], p=[0.25, 0.65, 0.10], size=60), 3)
        result = paired_difference(gains < 0, gains > 0, np.repeat(np.arange(60), 3), n_resamples=400)
        covered += result.interval.low <= 0.15 <= result.interval.high
    # 95% of 200 is 190; three standard deviations of a binomial there are 9.
    assert covered >= 181


def test_paired_difference_by_hand() -> None:
    reference = [True] * 4 + [False] * 6
    arm = [True] * 3 + [False] + [True] * 5 + [False]
    result = paired_difference(reference, arm, [f"family {i}" for i in range(10)])
    assert (result.reference, result.arm, result.only_reference, result.only_arm) == (0.4, 0.8, 1, 5)
    assert result.difference == pytest.approx(0.4)
    assert result.p_value == pytest.approx(14 / 64)
    assert result.interval.low < 0.4 < result.interval.high


def test_equal_answers_still_leave_room_for_doubt() -> None:
    result = paired_difference([True, False] * 30, [True, False] * 30, range(60))
    assert result.difference == 0
    assert result.interval.low < 0 < result.interval.high


def test_pairs_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="same examples, got 2, 1 and 2"):
        paired_difference([True, False], [True], ["a", "b"])


def test_one_family_gives_no_bootstrap_interval() -> None:
    assert family_bootstrap(np.ones((1, 2)), lambda a, b: a / b) is NO_INTERVAL


def test_family_totals_sum_within_families() -> None:
    totals = family_totals(["b", "a", "b"], [1, 2, 3], [1, 1, 1])
    assert totals.tolist() == [[2, 1], [4, 2]]


def test_gap_closed() -> None:
    assert gap_closed(0.6, 0.9) == pytest.approx(0.75)
    assert gap_closed(0.5, 0.4) == pytest.approx(-0.2)
    assert np.isnan(gap_closed(1.0, 1.0))


def test_gap_closed_interval_holds_the_estimate_and_needs_errors_to_close() -> None:
    rng = np.random.default_rng(5)
    reference = rng.random(300) < 0.5
    arm = reference | (rng.random(300) < 0.4)
    low, high = gap_closed_interval(reference, arm, np.arange(300))
    assert low < gap_closed(reference.mean(), arm.mean()) < high
    assert np.isnan(gap_closed_interval([True] * 5, [True] * 5, range(5)).low)
