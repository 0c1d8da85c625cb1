import itertools

import numpy as np
import pytest
from scipy import stats

from spelling_transfer.statistics.intervals import NO_INTERVAL
from spelling_transfer.statistics.resampling import Bootstrap, family_bootstrap, family_totals


def test_draws_are_those_of_scipys_bootstrap() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 80))

    def statistic(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.sum(axis=axis) / (1 + b.sum(axis=axis) ** 2)

    theirs = stats.bootstrap(
        (first, second),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=1_203,
        batch=500,
        method="percentile",
        rng=7,
    )
    ours = Bootstrap(n_resamples=1_203, seed=7).values(statistic, first, second)
    assert ours.tolist() == theirs.bootstrap_distribution.tolist()
    interval = family_bootstrap(
        np.stack([first, second], axis=1), lambda a, b: a / (1 + b**2), Bootstrap(0.95, 1_203, 7)
    )
    assert tuple(interval) == pytest.approx(
        tuple(theirs.confidence_interval), rel=1e-14
    )  # scipy rounds as its version does


def test_counts_are_draws_of_as_many_items_as_there_are() -> None:
    counts = Bootstrap(n_resamples=5_000, seed=1).counts(12)
    assert counts.shape == (5_000, 12)
    assert (counts.sum(axis=1) == 12).all()
    # Each item is taken once in the mean, with the variance of a binomial: 12 * 1/12 * 11/12.
    assert counts.mean(axis=0) == pytest.approx(np.ones(12), abs=0.06)
    assert counts.var(axis=0) == pytest.approx(np.full(12, 11 / 12), abs=0.1)
    assert (Bootstrap(n_resamples=5_000, seed=1).counts(12) == counts).all()


def test_counts_of_equal_rows_are_draws_of_rows() -> None:
    # One question a family: 60 got better, 20 worse, 520 stayed, half of those wrong before.
    change = np.repeat([1.0, -1.0, 0.0, 0.0], [60, 20, 260, 260])
    rows = np.stack([change, np.repeat([1.0, 0.0, 1.0, 0.0], [60, 20, 260, 260])], axis=1)
    bootstrap = Bootstrap(n_resamples=20_000)
    counted = bootstrap.sums(rows)
    drawn = np.concatenate([rows[taken].sum(axis=1) for taken in bootstrap.indices(len(rows))])
    assert counted.shape == drawn.shape == (20_000, 2)
    assert counted.mean(axis=0) == pytest.approx(rows.sum(axis=0), abs=0.5)
    assert np.cov(counted.T) == pytest.approx(np.cov(drawn.T), rel=0.05)
    for level in (0.025, 0.5, 0.975):
        assert np.quantile(counted, level, axis=0) == pytest.approx(np.quantile(drawn, level, axis=0), abs=1.0)
    assert (bootstrap.sums(rows) == counted).all()


def test_bootstrap_agrees_with_every_possible_resample() -> None:
    # Five families: all 5^5 resamples can be listed, and their 2.5% and 97.5% points are what the bootstrap estimates.
    change, n = np.array([1.0, 0.0, 2.0, -1.0, 1.0]), np.array([2.0, 1.0, 2.0, 1.0, 3.0])
    draws = np.array(list(itertools.product(range(5), repeat=5)))
    every = change[draws].sum(axis=1) / n[draws].sum(axis=1)
    interval = family_bootstrap(
        np.stack([change, n], axis=1), lambda change, n: change / n, Bootstrap(n_resamples=40_000)
    )
    for end, level in zip(interval, (0.025, 0.975), strict=True):
        # The listed values are few, so the end must be one whose step in the distribution holds the level.
        assert (every < end - 1e-9).mean() <= level + 0.005
        assert (every <= end + 1e-9).mean() >= level - 0.005


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    totals = np.random.default_rng(0).random((30, 2))
    first, again, other = (family_bootstrap(totals, lambda a, b: a / b, Bootstrap(seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_one_family_gives_no_bootstrap_interval() -> None:
    assert family_bootstrap(np.ones((1, 2)), lambda a, b: a / b) is NO_INTERVAL


def test_family_totals_sum_within_families() -> None:
    totals = family_totals(["b", "a", "b"], [1, 2, 3], [1, 1, 1])
    assert totals.tolist() == [[2, 1], [4, 2]]
