from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spelling_transfer.statistics.contrast import Contrast, contrast, family_values, seed_effect
from spelling_transfer.statistics.exact import mcnemar_exact


def test_without_differences_between_seeds_only_families_matter() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random((3, 200)) < 0.5).astype(float)
    found = contrast([values[:1], values[:1]], [1, -1])
    # No family differs: what is left are the two pseudo-families, one for and one against.
    assert found.centre == 0
    assert found.standard_error == pytest.approx(np.sqrt(2) / 202)
    assert found.seed_df == np.inf
    assert found.interval() == pytest.approx((-1.959964 * np.sqrt(2) / 202, 1.959964 * np.sqrt(2) / 202), abs=1e-7)


def test_seed_effect_is_the_variance_component_of_the_two_way_layout() -> None:
    rng = np.random.default_rng(1)
    seeds, families, between = 40, 500, 0.03
    estimates = []
    for _ in range(40):
        shifts = rng.normal(0, between, (seeds, 1))
        values = (rng.random((seeds, families)) < 0.5 + shifts).astype(float)
        estimates.append(seed_effect(values).variance * seeds)
    assert np.mean(estimates) == pytest.approx(between**2, rel=0.1)
    # By the mean squares of the analysis of variance.
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    mean_square = families * values.mean(axis=1).var(ddof=1)
    by_chance = (rest**2).sum() / ((seeds - 1) * (families - 1))
    assert estimates[-1] == pytest.approx((mean_square - by_chance) / families)


def test_fewer_than_three_seeds_take_the_assumed_spread() -> None:
    values = np.zeros((2, 50))
    assert seed_effect(values, 0.02) == (0.02**2 / 2, np.inf)
    assert seed_effect(np.zeros((3, 50)), 0.02) == (0.0, 2)


def test_where_seeds_are_all_there_is_the_test_is_welchs() -> None:
    # Every family is answered alike within a seed, so the shares of seeds are all that varies.
    rng = np.random.default_rng(2)
    first, second = (np.repeat(rng.normal(center, 0.1, (4, 1)), 30, axis=1) for center in (0.5, 0.7))
    found = contrast([first, second], [-1, 1], pseudo_families=False)
    theirs = stats.ttest_ind(second[:, 0], first[:, 0], equal_var=False)
    assert found.seed_df == pytest.approx(theirs.df)
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.interval() == pytest.approx(tuple(theirs.confidence_interval()))


def test_the_p_value_is_where_the_interval_ends_at_zero() -> None:
    rng = np.random.default_rng(6)
    first, second = ((rng.random((3, 300)) < share).astype(float) for share in (0.45, 0.55))
    for arms in ([first, second], [first[:1], second]):
        found = contrast(arms, [-1, 1], spreads=[0.0, 0.02])
        low, _ = found.interval(1 - found.p_value)
        assert low == pytest.approx(0, abs=1e-6)
    assert contrast([first[:1], second[:1]], [-1, 1], spreads=[0.0, 0.02]).p_value < 1


def test_each_part_has_its_own_quantile() -> None:
    found = Contrast(100, 0.1, 0.1, 0.0004, 0.0009, 2.0, height=0.2)
    expected = np.sqrt(stats.norm.ppf(0.975) ** 2 * 0.0004 + stats.t.ppf(0.975, 2) ** 2 * 0.0009)
    assert found.half_width() == pytest.approx(expected)
    assert found.detectable() == pytest.approx(expected + stats.norm.ppf(0.8) * np.sqrt(0.0013))
    one_t = stats.t.ppf(0.975, 0.0013**2 / (0.0009**2 / 2)) * np.sqrt(0.0013)
    assert one_t < expected  # Satterthwaite's, which does not cover


@pytest.mark.parametrize("differ", [0, 4])
def test_what_can_be_found_where_few_differ_is_found_four_times_out_of_five(differ: int) -> None:
    # All that differ then are won, so of 600 as many are as the binomial says, and McNemar's test counts them.
    change = np.zeros((1, 600))
    change[0, :differ] = np.tile([1, -1], differ // 2)
    found = contrast([change], [1.0]).detectable()
    won = np.arange(601)
    clear = np.array([mcnemar_exact(0, int(each)) <= 0.05 for each in won])
    assert stats.binom.pmf(won, 600, found)[clear].sum() == pytest.approx(0.8, abs=0.01)


def test_family_values_have_the_share_as_their_mean_in_families_of_any_size() -> None:
    rng = np.random.default_rng(3)
    families = rng.integers(0, 20, 100)
    correct = rng.random((2, 100)) < 0.5
    values, sizes = family_values(correct, families)
    assert values.mean(axis=1) == pytest.approx(correct.mean(axis=1))
    assert sizes.mean() == pytest.approx(1)
    one_each, _ = family_values([True, False, True], ["c", "a", "b"])
    assert one_each.tolist() == [[0, 1, 1]]


def test_families_without_a_question_are_there_as_zeros() -> None:
    values, sizes = family_values([[True, False]], np.array([1, 3]), np.arange(5))
    assert values.tolist() == [[0, 2.5, 0, 0, 0]]
    assert sizes.tolist() == [0, 2.5, 0, 2.5, 0]


def test_families_of_unequal_size_have_the_variance_of_a_ratio() -> None:
    rng = np.random.default_rng(4)
    families = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    n = len(families)
    first, second = rng.random(n) < 0.4, rng.random(n) < 0.5
    (before, sizes), (after, _) = (family_values(each, families) for each in (first, second))
    found = contrast([before, after], [-1, 1], sizes, pseudo_families=False)
    change = second.astype(float) - first
    residual = np.bincount(families, weights=change - change.mean())
    assert found.estimate == pytest.approx(change.mean())
    assert found.standard_error == pytest.approx(np.sqrt((residual**2).sum()) / n)
