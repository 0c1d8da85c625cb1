"""The rule holds in simulated studies, and rules and intervals that do not hold are seen not to.

Bounds are three standard deviations of a binomial of the studies drawn.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import simulation
from simulation import (
    CountedBootstrap,
    World,
    count_claims,
    newcombe_interval,
    one_seed_cell,
    open_gates,
    other_cell,
    ratio_cell,
    seeds_cell,
)
from simulation_tables import RESULTS, is_ours, tables

from spelling_transfer.statistics.intervals import wilson_interval
from spelling_transfer.statistics.resampling import Bootstrap, family_bootstrap

STUDIES = 300
PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def slack(share: float, studies: int = STUDIES) -> float:
    return 3 * math.sqrt(share * (1 - share) / studies)


def test_a_harmed_control_is_claimed_by_a_rule_without_the_base_and_not_by_ours() -> None:
    found = count_claims(World("harmed", open_gates(control=-0.08), families=300, assumed=0.0), STUDIES, 0)
    assert found["gates open"] > 0.5
    assert found["gates aside"] <= 0.05 + slack(0.05)
    assert found["without the base"] > 0.5


def test_a_form_gain_is_claimed_by_a_rule_without_the_control_and_not_by_ours() -> None:
    of = open_gates(control=0.08, spelling=0.08)
    found = count_claims(World("form", of, families=300, assumed=0.0), STUDIES, 1)
    assert found["gates aside"] <= 0.05 + slack(0.05)
    assert found["without the control"] > 0.5


def test_seeds_that_differ_are_claimed_where_no_spread_is_assumed() -> None:
    ours, mutant = (
        count_claims(World("seeds", open_gates(), seed_sd=0.04, families=1_000, assumed=assumed), STUDIES, 2)
        for assumed in (0.04, 0.0)
    )
    assert ours["gates aside"] <= 0.05 + slack(0.05)
    assert mutant["gates aside"] > 0.05 + slack(0.05)


def test_transfer_is_found() -> None:
    found = count_claims(World("found", open_gates(spelling=0.08), seeds=3, seed_sd=0.005), 60, 3)
    assert found["the rule"] > 0.9
    assert found["no"] == 0


def test_walds_interval_and_the_bootstrap_are_seen_not_to_cover_where_few_answers_differ() -> None:
    rows = {row["interval"]: row["coverage"] for row in one_seed_cell(150, 0.01, 0.9, STUDIES, 4)}
    assert rows["difference"] >= 0.93
    for narrow in ("difference, Wald", "difference, percentile bootstrap"):
        assert rows[narrow] < 0.93 - slack(0.93)


def test_newcombes_interval_is_that_of_the_package_contingencytables_of_r_and_by_hand() -> None:
    # Complete response before and after consolidation therapy (Cavo et al. 2012): -0.0621 (-0.1186 to -0.0046).
    assert newcombe_interval(59, 16, 6, 80) == pytest.approx((-0.1186, -0.0046), abs=5e-5)
    # Where the association is negative (36 * 0 - 2 * 12), no continuity correction applies.
    phi = -24 / math.sqrt(38 * 12 * 48 * 2)
    (l1, u1), (l2, u2) = wilson_interval(38, 50), wilson_interval(48, 50)
    low = 0.2 - math.sqrt((0.96 - l2) ** 2 - 2 * phi * (0.96 - l2) * (u1 - 0.76) + (u1 - 0.76) ** 2)
    high = 0.2 + math.sqrt((u2 - 0.96) ** 2 - 2 * phi * (u2 - 0.96) * (0.76 - l1) + (0.76 - l1) ** 2)
    assert newcombe_interval(36, 2, 12, 0) == pytest.approx((low, high), abs=1e-9)


def test_newcombes_interval_is_seen_not_to_cover_where_both_arms_have_half_right() -> None:
    cell = one_seed_cell(76, 0.03, 0.9, 1_000, 5, known=0.5)
    rows = {row["interval"]: row["coverage"] for row in cell}
    assert rows["difference"] >= 0.93
    assert rows["difference, Newcombe"] < 0.93 - 0.015


def test_families_alone_do_not_cover_where_seeds_differ_nor_do_three_seeds_resampled() -> None:
    rows = {row["interval"]: row["coverage"] for row in seeds_cell(2_000, 0.1, 3, 0.02, "control", 0.02, 150, 6)}
    assert rows["difference from control"] >= 0.94 - slack(0.94, 150)
    assert rows["difference from control, families alone"] < 0.6
    assert rows["difference from control, both resampled"] < 0.94 - slack(0.94, 150) + 0.03


def test_the_headline_covers_where_it_is_given() -> None:
    (row,) = ratio_cell(300, 1, 0.0, 0.5, STUDIES, 7)
    assert abs(row["coverage"] - 0.95) <= slack(0.95)
    assert row["given"] > 0.9


def test_other_intervals_cover() -> None:
    for row in other_cell(300, STUDIES, 8):
        assert row["coverage"] >= 0.95 - slack(0.95), row["interval"]


def test_the_counted_bootstrap_is_the_one_that_is_used() -> None:
    rng = np.random.default_rng(9)
    totals = rng.integers(0, 3, (80, 2)).astype(float)

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return above / below

    theirs = family_bootstrap(totals, ratio, Bootstrap(n_resamples=999))
    assert CountedBootstrap(80).interval(totals, ratio) == pytest.approx(theirs, abs=1e-6)


def test_a_run_is_the_same_twice_and_whatever_the_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [job for job in simulation.plan(8, 4) if job[0] != "coverage"][::9] + simulation.plan(8, 4)[-1:]
    monkeypatch.setattr(simulation, "plan", lambda studies, power_studies: few)
    first, again = (simulation.simulate(8, 4, workers) for workers in (1, 2))
    assert {**first, "seconds": 0} == {**again, "seconds": 0}


def test_the_committed_results_hold_what_the_page_says() -> None:
    found = json.loads(RESULTS.read_text())
    ours = [row for row in found["coverage"] if is_ours(row)]
    assert min(row["studies"] for row in ours) >= 2_000
    assert {row["families"] for row in ours} == {76, 150, 300, 600, 2_000}
    assert min(row["disagreement"] or 1 for row in ours) == 0.01
    assert min(row["coverage"] for row in ours) >= 0.93
    for row in found["false claims"]:
        assert max(row["the rule"], row["gates aside"]) <= 0.05
        assert row["studies"] >= 2_000
    assert tables(found) in PAGE.read_text(encoding="utf-8"), "python benchmarks/simulation_tables.py, into the page"
