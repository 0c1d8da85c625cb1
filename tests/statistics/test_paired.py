from math import sqrt

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.statistics.intervals import Interval
from spelling_transfer.statistics.paired import (
    bonett_price_interval,
    clear_direction,
    difference_ratio,
    gap_closed,
    gap_closed_interval,
    paired_difference,
)


def test_paired_difference_by_hand() -> None:
    reference = [True] * 4 + [False] * 6
    arm = [True] * 3 + [False] + [True] * 5 + [False]
    result = paired_difference(reference, arm, [f"family {i}" for i in range(10)])
    assert (result.reference, result.arm, result.only_reference, result.only_arm) == (0.4, 0.8, 1, 5)
    assert result.difference == pytest.approx(0.4)
    assert result.p_value == pytest.approx(14 / 64)
    assert result.interval.low < 0.4 < result.interval.high


def test_pairs_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="same examples, got 2, 1 and 2"):
        paired_difference([True, False], [True], ["a", "b"])


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA, 2, 0.5, "False"])
def test_an_answer_that_is_neither_right_nor_wrong_is_not_taken_for_right(missing: object) -> None:
    right = np.array([True, missing], dtype=object)
    with pytest.raises(ValueError, match=r"arm: .*neither right nor wrong"):
        paired_difference([True, False], right, ["a", "b"])
    given = [1.0, 0.0], np.array([True, False], dtype=object), [1, 0]
    assert [paired_difference(each, [False, False], ["a", "b"]).reference for each in given] == [0.5] * 3


@pytest.mark.parametrize("missing", [np.nan, None, pd.NA])
def test_an_example_without_a_family_is_refused(missing: object) -> None:
    for families in (["berry", missing, missing], pd.Series(["berry", missing, missing])):
        with pytest.raises(ValueError, match="families: an example has none"):
            paired_difference([1, 0, 1], [0, 1, 1], np.asarray(families, dtype=object))
    with pytest.raises(ValueError, match="families: an example has none"):
        paired_difference([1, 0, 1], [0, 1, 1], [1.0, np.nan, np.nan])


@pytest.mark.parametrize("level", [{"confidence": 95}, {"alpha": 5}])
def test_a_level_in_percent_is_refused(level: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"is not between 0 and 1: 0\.95 for 95%"):
        paired_difference([1, 0], [0, 1], ["a", "b"], **level)


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
        result = paired_difference(gains < 0, gains > 0, np.repeat(np.arange(60), 3))
        covered += result.interval.low <= 0.15 <= result.interval.high
    # 95% of 200 is 190; three standard deviations of a binomial there are 9.
    assert covered >= 181


def test_few_answers_won_and_none_lost_are_no_clear_change() -> None:
    # Four of 600 won: the percentile bootstrap's interval excludes zero, though a coin shows as much one time in eight.
    reference = np.zeros(600, dtype=bool)
    arm = np.arange(600) < 4
    result = paired_difference(reference, arm, np.arange(600))
    assert result.p_value == pytest.approx(0.125)
    assert result.interval.low < 0 < result.interval.high
    assert clear_direction(result.interval, result.p_value) == "unclear"
    more = paired_difference(reference, np.arange(600) < 8, np.arange(600))
    assert clear_direction(more.interval, more.p_value) == "up"


def test_a_clear_change_needs_both_its_interval_and_its_test() -> None:
    assert clear_direction(Interval(0.01, 0.1), 0.05) == "up"
    assert clear_direction(Interval(-0.1, -0.01), 0.01) == "down"
    assert clear_direction(Interval(0.01, 0.1), 0.06) == "unclear"
    assert clear_direction(Interval(-0.01, 0.1), 0.01) == "unclear"


def test_one_question_a_family_and_one_seed_is_the_interval_of_the_counts() -> None:
    rng = np.random.default_rng(1)
    reference, arm = rng.random(200) < 0.4, rng.random(200) < 0.5
    result = paired_difference(reference, arm, rng.permutation(200))
    counted = bonett_price_interval(200, result.only_reference, result.only_arm)
    assert result.interval == pytest.approx(counted, abs=1e-12)
    assert np.isnan(bonett_price_interval(0, 0, 0)).all()


def test_bonett_and_price_by_hand_and_published() -> None:
    # Airway hyper-responsiveness before and after transplantation (Bentur et al. 2009), 7 against 1 of 21, in the
    # formula of the paper: (7 + 1 - 1 - 1) / 23 and the square root of (10/23 - (6/23)^2) / 23.
    half = 1.959964 * sqrt((10 / 23 - (6 / 23) ** 2) / 23)
    interval = bonett_price_interval(21, 1, 7)
    assert interval == pytest.approx((6 / 23 - half, 6 / 23 + half), abs=1e-6)
    assert interval == pytest.approx((0.0134, 0.5084), abs=5e-5)


def test_seeds_that_differ_widen_the_interval_and_an_assumed_spread_stands_in_for_one_seed() -> None:
    rng = np.random.default_rng(2)
    families = np.arange(500)
    reference = rng.random(500) < 0.4

    def trained(shifts: list[float]) -> np.ndarray:
        return np.stack([rng.random(500) < 0.4 + shift for shift in shifts])

    alike, apart = (paired_difference(reference, trained(shifts), families) for shifts in ([0] * 5, [-0.1, 0, 0.1]))
    assert apart.interval.high - apart.interval.low > 3 * (alike.interval.high - alike.interval.low)
    one = trained([0.0])
    plain = paired_difference(reference, one, families)
    assumed = paired_difference(reference, one, families, spreads=(0.0, 0.02))
    error = (plain.interval.high - plain.interval.low) / (2 * 1.959964)
    wide = (assumed.interval.high - assumed.interval.low) / (2 * 1.959964)
    assert wide == pytest.approx(sqrt(error**2 + 0.02**2))
    assert assumed.p_value >= plain.p_value
    assert assumed.detectable == pytest.approx((1.959964 + 0.841621) * wide, rel=1e-5)


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
    assert np.isnan(gap_closed_interval([True] * 30, [True] * 30, range(30)).low)
    assert np.isfinite(gap_closed_interval(reference[:30], arm[:30], np.arange(30))).all()
    assert np.isnan(gap_closed_interval(reference[:29], arm[:29], np.arange(29))).all()
    for alike in (reference, np.ones(300, dtype=bool)):  # nothing closed and all of it: every resample says the same
        assert np.isnan(gap_closed_interval(reference, alike, np.arange(300))).all()
    worse, few_wrong = (np.arange(60) % 2 == 0, np.arange(60) > 2)  # a resample without what was wrong divides by zero
    assert np.isnan(gap_closed_interval(few_wrong, worse, np.arange(60))).all()
    few_wrong, worse = np.arange(200) > 7, np.arange(200) > 37  # fewer resamples than the tails do
    assert np.isfinite(gap_closed_interval(few_wrong, worse, np.arange(200))).all()


def test_a_ratio_of_differences_resamples_both_tasks_of_a_family_together() -> None:
    rng = np.random.default_rng(6)
    spelling = (rng.random(200) < 0.5).astype(int)
    both, families = np.concatenate([spelling, spelling]), np.tile(np.arange(200), 2)
    is_position = np.repeat([False, True], 200)
    # Position gains what spelling gains in every family, so the ratio is 1 in every resample.
    assert difference_ratio(both, families, is_position) == (1.0, (1.0, 1.0))
    ratio, interval = difference_ratio(np.concatenate([spelling, spelling[::-1]]), families, is_position)
    assert ratio == pytest.approx(1.0)
    assert interval.low < 1 < interval.high


@pytest.mark.parametrize(("n_position", "has_interval"), [(29, False), (30, True)])
def test_a_ratio_with_a_task_of_too_few_families_has_no_interval(n_position: int, has_interval: bool) -> None:
    families = np.concatenate([np.arange(200), np.arange(n_position)])
    is_position = np.repeat([False, True], [200, n_position])
    differences = np.where(is_position, families % 3 == 0, families % 2 == 0)
    _, interval = difference_ratio(differences, families, is_position)
    assert np.isfinite(interval).all() == has_interval


def test_a_family_may_lack_one_of_the_tasks_of_a_ratio() -> None:
    differences = [1, 1, 0, 1, 1, 0, 0]
    ratio, _ = difference_ratio(differences, ["a", "b", "c", "d", "a", "b", "c"], [False] * 4 + [True] * 3)
    assert ratio == pytest.approx((1 / 3) / (3 / 4))
