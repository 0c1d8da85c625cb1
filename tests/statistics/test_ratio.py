from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq

from spelling_transfer.statistics.contrast import contrast
from spelling_transfer.statistics.ratio import contrast_ratio, fieller_interval


def test_fieller_ends_are_where_the_test_just_rejects() -> None:
    numerator, denominator, va, vb, cov = 0.05, 0.12, 0.0004, 0.0005, 0.0002

    def statistic(ratio: float) -> float:
        difference = numerator - ratio * denominator
        return difference**2 / (va - 2 * ratio * cov + ratio**2 * vb) - 1.959964**2

    low, high = fieller_interval(numerator, denominator, va, vb, cov, critical=1.959964)
    assert low == pytest.approx(brentq(statistic, -2, numerator / denominator), abs=1e-5)
    assert high == pytest.approx(brentq(statistic, numerator / denominator, 3), abs=1e-5)


def test_a_precise_denominator_gives_the_interval_of_the_numerator() -> None:
    low, high = fieller_interval(0.05, 0.1, 0.0001, 0.0, 0.0, critical=1.959964)
    assert (low, high) == pytest.approx((0.5 - 0.1959964, 0.5 + 0.1959964), abs=1e-6)


def test_a_denominator_that_may_be_zero_gives_none() -> None:
    assert math.isnan(fieller_interval(0.05, 0.01, 0.0001, 0.0001, 0.0, critical=1.959964).low)


def arms(seeds: int, gains: tuple[float, float], families: int = 400) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    chance = rng.random(families) * 0.6
    return [(rng.random((seeds, families)) < chance + gain).astype(float) for gain in (gains[0], 0.0, gains[1])]


def test_the_ratio_is_of_both_contrasts_and_missing_without_a_ceiling() -> None:
    right = arms(3, (0.1, 0.2))
    found = contrast_ratio(right, [1, -1, 0], [0, -1, 1])
    assert found is not None
    shares = [arm.mean() for arm in right]
    assert found.ratio == pytest.approx((shares[0] - shares[1]) / (shares[2] - shares[1]))
    assert found.interval.low < found.ratio < found.interval.high
    # A ceiling below the control is none: two losses have a ratio above zero, too.
    for direct in (0.0, -0.2):
        assert contrast_ratio(arms(3, (0.1, direct)), [1, -1, 0], [0, -1, 1]) is None


def test_zero_lies_in_the_ratios_interval_where_it_lies_in_the_numerators() -> None:
    for gain in (0.0, 0.02, 0.05, 0.08, 0.12):
        right = arms(1, (gain, 0.3))
        found = contrast_ratio(right, [1, -1, 0], [0, -1, 1])
        numerator = contrast(right, [1, -1, 0], pseudo_families=False).interval()
        assert found is not None
        assert found.interval.excludes(0) == numerator.excludes(0)


def test_arms_that_never_differ_leave_a_ratio_of_zero_uncertain() -> None:
    none, every = np.zeros((3, 100)), np.ones((3, 100))
    some = np.tile(np.repeat([1.0, 0.0], [60, 40]), (3, 1))
    # Two families more, one for and one against: half the numerator's interval is 1.96 · sqrt(2) / 102 = 0.0272.
    for direct, half in ((every, 0.0272), (some, 0.0272 / 0.6)):
        found = contrast_ratio([none, none, direct], [1, -1, 0], [0, -1, 1])
        assert found is not None
        assert found.ratio == 0
        assert found.interval == pytest.approx((-half, half), rel=0.02)
    one = slice(0, 1)
    assert contrast_ratio([none[:, one], none[:, one], every[:, one]], [1, -1, 0], [0, -1, 1]) is None
