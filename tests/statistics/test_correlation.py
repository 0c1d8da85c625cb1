from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spelling_transfer.statistics.correlation import correlate
from spelling_transfer.statistics.resampling import Bootstrap


def rho(*quantities: np.ndarray) -> float:
    found = correlate(*quantities, bootstrap=Bootstrap(n_resamples=1))["rho"]
    return np.nan if found is None else float(found)


@given(st.integers(0, 10_000), st.integers(5, 60))
def test_the_partial_correlation_is_the_closed_form(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    steps = rng.integers(0, 6, n).astype(float)  # with ties
    first, second = steps + rng.normal(size=n), -steps + rng.normal(size=n)
    xy, xz, yz = (stats.spearmanr(*pair).statistic for pair in ((first, second), (first, steps), (second, steps)))
    if np.isnan([xy, xz, yz]).any() or max(abs(xz), abs(yz)) > 0.999:
        return
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert rho(first, second, steps) == pytest.approx(expected, abs=1e-9)
    assert rho(first, second) == pytest.approx(xy)


def test_what_both_owe_to_steps_is_taken_out() -> None:
    rng = np.random.default_rng(0)
    steps = rng.permutation(200).astype(float)
    first, second = steps + rng.normal(0, 20, 200), steps + rng.normal(0, 20, 200)
    assert rho(first, second) > 0.8
    assert abs(rho(first, second, steps)) < 0.2
    assert rho(first, second, np.full(200, 60.0)) == pytest.approx(rho(first, second))


def test_a_quantity_that_does_not_vary_has_no_correlation() -> None:
    found = correlate([1.0] * 20, np.arange(20.0))
    assert found == {"n": 20, "rho": None, "low": None, "high": None}
    assert correlate([1.0, 2.0], [1.0, 2.0])["rho"] is None
    # A gain that steps alone decide leaves nothing to correlate.
    assert correlate(np.arange(20.0), np.random.default_rng(0).normal(size=20), np.arange(20.0))["rho"] is None


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    true = 6 / np.pi * np.arcsin(0.5 / 2)  # Spearman's coefficient of a bivariate normal with correlation 0.5
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        x, y = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], size=60).T
        found = correlate(x, y, bootstrap=Bootstrap(n_resamples=400, seed=seed))
        low, high = found["low"], found["high"]
        assert isinstance(low, float)
        assert isinstance(high, float)
        hits += low <= true <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_few_trials_have_no_interval_and_groups_are_resampled_whole() -> None:
    few = correlate([1, 2, 3, 4, 5], [2, 1, 4, 3, 5])
    assert few["rho"] == pytest.approx(0.8)
    assert few["low"] is None
    rng = np.random.default_rng(0)
    trial = np.repeat(np.arange(12), 30)
    effect = rng.normal(size=12)[trial]  # the rows of a trial say the same thing thirty times
    first, second = effect, effect + np.repeat(rng.normal(size=12), 30)
    bootstrap = Bootstrap(n_resamples=300)
    grouped = correlate(first, second, groups=trial, bootstrap=bootstrap)
    loose = correlate(first, second, bootstrap=bootstrap)
    assert grouped["rho"] == loose["rho"]
    assert grouped["high"] - grouped["low"] > 2 * (loose["high"] - loose["low"])  # type: ignore[operator]
