"""Proves the rule by simulation: do intervals cover, are claims false as rarely as they say, what is found.

    python benchmarks/simulation.py --json benchmarks/results/statistics.json

Studies are drawn whose truth is known, and the functions that judge a real one judge them. Nothing is assumed that the
rule knows: questions that a model may or may not get right are drawn anew in every study, and so is each training
seed's effect. Beside ours stand intervals and rules that do not hold, so that the simulation is seen to tell.
(The file is not named ``statistics.py``: it would hide Python's module of that name from the scripts beside it.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from benchmark_table import in_lines, parser_of, show

from spelling_transfer.evaluation.arms import ARMS, DIRECT, TaskAnswers
from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.evaluation.verdict import judge
from spelling_transfer.evaluation.verdict_parts import Verdict
from spelling_transfer.statistics.contrast import family_values
from spelling_transfer.statistics.intervals import Interval, percentile_interval, wilson_interval
from spelling_transfer.statistics.multiple import holm
from spelling_transfer.statistics.paired import paired_difference
from spelling_transfer.statistics.ratio import contrast_ratio
from spelling_transfer.statistics.resampling import Bootstrap, family_totals

FAMILIES = (76, 150, 300, 600, 2_000)
DISAGREEMENT = (0.01, 0.03, 0.1, 0.3)
ONE_SIDED = (0.0, 0.5, 0.9)
"""The true difference as a share of the disagreement: none, half and nearly all of it goes one way."""
KNOWN = 0.4
"""Share of the settled questions that every arm has right."""
Rng = np.random.Generator


# Studies whose truth is known.


def answers(rng: Rng, share: float, gain: float, seeds: int, seed_sd: float, open_to: Any, known: Any) -> np.ndarray:
    """Draws which questions an arm has right, shape (seeds, families).

    Args:
        rng: Source of chance.
        share: Share of questions that are open: an arm has them right by chance, with each seed anew.
        gain: How much better than the base the arm is.
        seeds: Training seeds.
        seed_sd: Standard deviation of a seed's effect on the share of right answers.
        open_to: Which questions are open, shape (families,).
        known: Which of the others every arm has right, shape (families,).
    """
    chance = np.clip(0.5 + (gain + rng.normal(0, seed_sd, (seeds, 1))) / share, 0, 1)
    return rng.random((seeds, len(known))) < np.where(open_to, chance, known)


def pair(
    rng: Rng, n: int, disagreement: float, difference: float, known: float = KNOWN
) -> tuple[np.ndarray, np.ndarray]:
    """Draws two arms of one seed that disagree on a share of the questions, (families,) each."""
    lost, won = (disagreement - difference) / 2, (disagreement + difference) / 2
    kind = rng.choice(4, n, p=[known * (1 - disagreement), (1 - known) * (1 - disagreement), lost, won])
    return (kind == 0) | (kind == 2), (kind == 0) | (kind == 3)


@dataclass(frozen=True)
class World:
    """A truth to draw studies from.

    Attributes:
        name: What is true.
        gains: Change against the base by task and arm; 0 where none is given.
        families: Questions of each task, one a family.
        seeds: Seeds of every trained arm.
        seed_sd: How far they differ.
        disagreement: Share of questions that two arms without a difference answer differently.
        assumed: The spread of seeds that the rule assumes below three.
    """

    name: str
    gains: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    families: int = 600
    seeds: int = 1
    seed_sd: float = 0.0
    disagreement: float = 0.2
    assumed: float = 0.02

    def study(self, rng: Rng) -> dict[str, TaskAnswers]:
        """Draws the answers of all arms in all tasks."""
        found, share, numbers = {}, 2 * self.disagreement, np.arange(self.families)
        for task in ("spelling", *DIRECT):
            open_to, known = rng.random(self.families) < share, rng.random(self.families) < KNOWN
            arms = {}
            for arm in ARMS:
                if arm in DIRECT.values() and arm != DIRECT.get(task):
                    continue
                seeds, seed_sd = (1, 0.0) if arm == "base" else (self.seeds, self.seed_sd)
                gain = self.gains.get(task, {}).get(arm, 0.0)
                arms[arm] = answers(rng, share, gain, seeds, seed_sd, open_to, known)
            found[task] = TaskAnswers(numbers, arms)
        return found

    def verdicts(self, rng: Rng, studies: int) -> Iterator[Verdict]:
        """Judges so many studies."""
        settings = VerdictSettings(seed_spread=self.assumed)
        for _ in range(studies):
            yield judge(self.study(rng), settings)


def open_gates(**position_and_count: float) -> dict[str, dict[str, float]]:
    """Returns gains with a treatment that worked and a ceiling of ten points, and these in position and count.

    Direct training teaches the form of the answers too, so its arm gains what the control gains.
    """
    direct = 0.1 + max(position_and_count.get("control", 0.0), 0.0)
    return {
        "spelling": {"spelling": 0.19},
        **{task: {DIRECT[task]: direct, **position_and_count} for task in DIRECT},
    }


NO_TRANSFER = [
    World("all arms alike"),
    World("all arms alike", seeds=3),
    World("no transfer", open_gates(), assumed=0.0),
    World("no transfer, few answers differ", open_gates(), disagreement=0.15, families=76, assumed=0.0),
    *(
        World(name, gains, seeds=seeds, seed_sd=seed_sd)
        for name, gains, sds in (
            ("no transfer", open_gates(), (0.01, 0.02)),
            ("the control is harmed by 8 points", open_gates(control=-0.08), (0.0, 0.02)),
            ("a form gain of 8 points in both arms", open_gates(control=0.08, spelling=0.08), (0.0, 0.02)),
        )
        for seed_sd in sds
        for seeds in (1, 3)
    ),
]
TRANSFER = [
    World(
        f"transfer of {gain:.0%}".replace("%", " points"), open_gates(spelling=gain), families, seeds, seed_sd, 0.2, a
    )
    for gain in (0.03, 0.05)
    for families, seeds, seed_sd, a in (
        (600, 1, 0.0, 0.0),
        (600, 1, 0.01, 0.02),
        (600, 3, 0.0, 0.02),
        (600, 3, 0.01, 0.02),
        (2_000, 3, 0.0, 0.02),
        (2_000, 5, 0.01, 0.02),
    )
]


# Rules that do not hold, to see that the simulation tells.


def claims(verdict: Verdict, references: tuple[str, ...] = ("base", "control"), *, adjusted: bool = True) -> bool:
    """Returns whether any of both tasks is claimed against these references alone, gates aside."""
    found = [[each.found for each in task.comparisons if each.reference in references] for task in verdict.tasks]
    p = [1.0 if min(each.difference for each in task) <= 0 else max(each.p_value for each in task) for task in found]
    least = [min(each.interval.low for each in task) for task in found]
    return any(p_value <= 0.05 and low > 0 for p_value, low in zip(holm(p) if adjusted else p, least, strict=True))


RULES: Mapping[str, Callable[[Verdict], bool]] = {
    "the rule": lambda verdict: verdict.answer == "yes",
    "gates aside": claims,
    "without the base": lambda verdict: claims(verdict, ("control",)),
    "without the control": lambda verdict: claims(verdict, ("base",)),
}


def count_claims(world: World, studies: int, seed: int) -> dict[str, Any]:
    """Returns the share of studies in which a rule says yes, and what else they said."""
    verdicts = list(world.verdicts(np.random.default_rng(seed), studies))
    return {
        "truth": world.name,
        "families": world.families,
        "seeds": world.seeds,
        "seed_sd": world.seed_sd,
        "assumed": world.assumed if world.seeds < 3 else None,
        "disagreement": world.disagreement,
        **{name: round(float(np.mean([rule(each) for each in verdicts])), 4) for name, rule in RULES.items()},
        "no": round(float(np.mean([each.answer == "no" for each in verdicts])), 4),
        "gates open": round(float(np.mean([all(gate.passed for gate in each.gates) for each in verdicts])), 4),
        "each task": round(float(np.mean([each.tasks[0].answer == "yes" for each in verdicts])), 4),
        "detectable": round(float(np.median([each.tasks[0].detectable for each in verdicts])), 4),
        "studies": studies,
    }


# Coverage.


def coverage(intervals: list[Interval], truth: float) -> tuple[float, float, float]:
    """Returns the share of intervals that hold the truth, their mean width, and the share that were given."""
    ends = np.array(intervals, dtype=float)
    given = ~np.isnan(ends).any(axis=1)
    ends = ends[given]
    if not len(ends):
        return math.nan, math.nan, 0.0
    holds = (ends[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= ends[:, 1])
    return float(holds.mean()), float((ends[:, 1] - ends[:, 0]).mean()), float(given.mean())


def coverage_row(interval: str, found: list[Interval], truth: float, **of: Any) -> dict[str, Any]:
    """Returns a row of the table of coverage."""
    covered, width, given = coverage(found, truth)
    return {
        "interval": interval,
        **{"families": None, "seeds": 1, "seed_sd": 0.0, "disagreement": None, **of},
        "truth": round(truth, 4),
        "coverage": round(covered, 4),
        "width": round(width, 4),
        "given": round(given, 4),
        "studies": len(found),
    }


class CountedBootstrap:
    """The bootstrap of ``family_bootstrap`` for many studies of a size: the same draws, made once."""

    def __init__(self, families: int, n_resamples: int = 999) -> None:
        drawn = [row for batch in Bootstrap(n_resamples=n_resamples).indices(families) for row in batch]
        self.counts = np.stack([np.bincount(row, minlength=families) for row in drawn]).astype(np.float32)

    def interval(self, totals: np.ndarray, statistic: Callable[..., np.ndarray]) -> Interval:
        """Returns the percentile interval of a statistic of column totals."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return percentile_interval(statistic(*(self.counts @ totals.astype(np.float32)).T.astype(float)))


def wald_interval(n: int, lost: int, won: int) -> Interval:
    """The interval that everything here replaces: too narrow where few answers differ."""
    difference = (won - lost) / n
    half = 1.959964 * math.sqrt(max((won + lost) / n - difference**2, 0) / n)
    return Interval(difference - half, difference + half)


def newcombe_interval(both: int, only_reference: int, only_arm: int, neither: int) -> Interval:
    """Newcombe's score interval, from the four counts: it needs no resampling, and covers less than ours.

    It joins the Wilson intervals (l, u) of both shares by their correlation φ:
    ``d - sqrt((p2-l2)² - 2φ(p2-l2)(u1-p1) + (u1-p1)²)`` and the mirror image above, with the continuity correction of
    φ for positive association.

    Source: R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", Statistics in Medicine 17 (1998), method 10.
    """
    n = both + only_reference + only_arm + neither
    reference, arm = (both + only_reference) / n, (both + only_arm) / n
    reference_low, reference_high = wilson_interval(both + only_reference, n)
    arm_low, arm_high = wilson_interval(both + only_arm, n)
    margins = (both + only_reference) * (only_arm + neither) * (both + only_arm) * (only_reference + neither)
    association = float(both * neither - only_reference * only_arm)
    if association > 0:
        association = max(association - n / 2, 0)
    phi = association / margins**0.5 if margins else 0.0

    def distance(first: float, second: float) -> float:
        # Rounding can leave a tiny negative number where the true value is 0.
        return float(max(first**2 - 2 * phi * first * second + second**2, 0.0) ** 0.5)

    difference = arm - reference
    return Interval(
        difference - distance(arm - arm_low, reference_high - reference),
        difference + distance(arm_high - arm, reference - reference_low),
    )


def one_seed_cell(
    n: int, disagreement: float, one_sided: float, studies: int, seed: int, known: float = KNOWN
) -> list[dict[str, Any]]:
    """Coverage of the paired difference of two arms of one seed, beside intervals that were tried."""
    rng, difference = np.random.default_rng(seed), one_sided * disagreement
    ours, wald, newcombe, bootstrapped = [], [], [], []
    bootstrap = CountedBootstrap(n) if n <= 300 else None
    families = np.arange(n)
    for _ in range(studies):
        reference, arm = pair(rng, n, disagreement, difference, known)
        found = paired_difference(reference, arm, families)
        ours.append(found.interval)
        wald.append(wald_interval(n, found.only_reference, found.only_arm))
        both = int((reference & arm).sum())
        neither = n - both - found.only_reference - found.only_arm
        newcombe.append(newcombe_interval(both, found.only_reference, found.only_arm, neither))
        if bootstrap is not None:
            totals = np.stack([arm.astype(float) - reference, np.ones(n)], axis=1)
            bootstrapped.append(bootstrap.interval(totals, lambda change, size: change / size))
    of = {"families": n, "disagreement": disagreement}
    rows = [
        coverage_row("difference", ours, difference, **of),
        coverage_row("difference, Newcombe", newcombe, difference, **of),
        coverage_row("difference, Wald", wald, difference, **of),
    ]
    if bootstrapped:
        rows.append(coverage_row("difference, percentile bootstrap", bootstrapped, difference, **of))
    return rows


def seeds_cell(
    n: int, disagreement: float, seeds: int, seed_sd: float, reference: str, assumed: float, studies: int, seed: int
) -> list[dict[str, Any]]:
    """Coverage of the difference of arms with several seeds, or with a spread that is assumed."""
    rng, share = np.random.default_rng(seed), 2 * disagreement
    ours, naive, resampled = [], [], []
    families = np.arange(n)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=400) / n
    for _ in range(studies):
        open_to, known = rng.random(n) < share, rng.random(n) < KNOWN
        arm = answers(rng, share, 0.0, seeds, seed_sd, open_to, known)
        others = (1, 0.0) if reference == "base" else (seeds, seed_sd)
        other = answers(rng, share, 0.0, *others, open_to, known)
        spreads = (0.0 if reference == "base" else assumed, assumed)
        ours.append(paired_difference(other, arm, families, spreads=spreads).interval)
        change = arm.mean(axis=0) - other.mean(axis=0)
        naive.append(Interval(*(change.mean() + np.array([-1.96, 1.96]) * change.std() / math.sqrt(n))))
        if n in (300, 2_000) and seeds == 3 and seed_sd == 0.02:
            resampled.append(both_resampled(rng, other, arm, weights))
    of = {"families": n, "disagreement": disagreement, "seeds": seeds, "seed_sd": seed_sd}
    name = f"difference from {reference}" + (f", {assumed:.0%} assumed" if seeds < 3 else "")
    rows = [coverage_row(name, ours, 0.0, **of)]
    rows.append(coverage_row(f"difference from {reference}, families alone", naive, 0.0, **of))
    if resampled:
        rows.append(coverage_row(f"difference from {reference}, both resampled", resampled, 0.0, **of))
    return rows


def both_resampled(rng: Rng, reference: np.ndarray, arm: np.ndarray, weights: np.ndarray) -> Interval:
    """The percentile bootstrap that draws seeds and families alike: three seeds show too little of their spread."""

    def drawn(right: np.ndarray) -> np.ndarray:
        seeds = rng.multinomial(len(right), np.full(len(right), 1 / len(right)), size=len(weights)) / len(right)
        return ((weights @ right.T) * seeds).sum(axis=1)

    return percentile_interval(drawn(arm) - drawn(reference))


def ratio_cell(n: int, seeds: int, seed_sd: float, part: float, studies: int, seed: int) -> list[dict[str, Any]]:
    """Coverage of (spelling - control) / (direct - control), where it is given."""
    rng, share, families = np.random.default_rng(seed), 0.4, np.arange(n)
    found = []
    for _ in range(studies):
        open_to, known = rng.random(n) < share, rng.random(n) < KNOWN
        arms = [
            family_values(answers(rng, share, gain, seeds, seed_sd, open_to, known), families)[0]
            for gain in (part * 0.12, 0.0, 0.12)
        ]
        ratio = contrast_ratio(arms, [1, -1, 0], [0, -1, 1], spreads=[0.02 if seed_sd else 0.0] * 3)
        found.append(Interval(math.nan, math.nan) if ratio is None else ratio.interval)
    return [coverage_row("headline ratio", found, part, families=n, disagreement=0.2, seeds=seeds, seed_sd=seed_sd)]


def other_cell(n: int, studies: int, seed: int) -> list[dict[str, Any]]:
    """Coverage of a share, of the gap closed and of the gain for each point of spelling."""
    rng, bootstrap = np.random.default_rng(seed), CountedBootstrap(n)
    shares, gaps, ratios = [], [], []
    for _ in range(studies):
        before, after = pair(rng, n, 0.2, 0.1)
        spelling_before, spelling_after = pair(rng, n, 0.3, 0.2)
        shares.append(wilson_interval(int(before.sum()), n))
        change, gain = after.astype(float) - before, spelling_after.astype(float) - spelling_before
        totals = family_totals(np.arange(n), change, ~before, gain)
        gaps.append(bootstrap.interval(totals[:, :2], lambda up, wrong: up / wrong))
        ratios.append(bootstrap.interval(totals[:, [0, 2]], lambda up, spelled: up / spelled))
    right = KNOWN * 0.8 + 0.05
    return [
        coverage_row("share (Wilson)", shares, right, families=n),
        coverage_row("gap closed", gaps, 0.1 / (1 - right), families=n, disagreement=0.2),
        coverage_row("gain for a point of spelling", ratios, 0.5, families=n, disagreement=0.2),
    ]


# All of it.


def plan(studies: int, power_studies: int) -> list[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """Returns everything to be done as (part, function, arguments but the seed)."""
    jobs: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = []
    jobs += [("false claims", count_claims, (world, studies)) for world in NO_TRANSFER]
    jobs += [("power", count_claims, (world, power_studies)) for world in TRANSFER]
    jobs += [
        ("coverage", one_seed_cell, (n, disagreement, one_sided, studies))
        for n in FAMILIES
        for disagreement in DISAGREEMENT
        for one_sided in ONE_SIDED
    ]
    jobs += [
        ("coverage", seeds_cell, (n, disagreement, seeds, seed_sd, reference, 0.02, studies))
        for n in FAMILIES
        for disagreement in (0.1, 0.3)
        for seeds, seed_sd in ((3, 0.0), (3, 0.01), (3, 0.02), (1, 0.02))
        for reference in ("base", "control")
        if n != 150
    ]
    jobs += [
        ("coverage", ratio_cell, (n, seeds, seed_sd, part, studies))
        for n in (300, 600, 2_000)
        for seeds, seed_sd in ((1, 0.0), (3, 0.01))
        for part in (0.0, 0.5)
    ]
    jobs += [("coverage", other_cell, (n, studies)) for n in FAMILIES]
    return jobs


def simulate(studies: int, power_studies: int, workers: int, seed: int = 0) -> dict[str, Any]:
    """Runs everything and returns the rows of each part, the same whatever the number of workers."""
    jobs, began = plan(studies, power_studies), time.perf_counter()
    found: dict[str, list[dict[str, Any]]] = {"false claims": [], "power": [], "coverage": []}
    with ProcessPoolExecutor(workers) as pool:
        running = [
            (part, pool.submit(function, *arguments, seed + place))
            for place, (part, function, arguments) in enumerate(jobs)
        ]
        for part, future in running:
            rows = future.result()
            found[part] += rows if isinstance(rows, list) else [rows]
    return {"seconds": round(time.perf_counter() - began, 1), "seed": seed, **found}


def main() -> None:
    """Runs the simulation and writes what came out."""
    parser = parser_of(__doc__)
    parser.add_argument("--studies", type=int, default=2_000, help="studies of each truth (2000)")
    parser.add_argument("--power-studies", type=int, default=1_000, help="studies of each truth with transfer (1000)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    arguments = parser.parse_args()
    found = simulate(arguments.studies, arguments.power_studies, arguments.workers)
    for part in ("false claims", "power", "coverage"):
        show(found[part])
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(in_lines(found))


if __name__ == "__main__":
    main()
