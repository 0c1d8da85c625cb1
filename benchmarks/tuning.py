"""How many training steps a search takes, beside other searches, and what the executor costs: one table from one run.

The searches run on a surrogate of learning curves, not on training (tuning_surrogate.py says which, and why): the same
space, the same configurations' scores and the same noise for all of them. Counted are the training steps until some
configuration that was trained to its end is truly worth 99% of the best of the mission's one-at-a-time grid.

The executor's cost is measured on trials that do nothing (light_study.py), and two workers against one on real training
of the embedded model.

    python benchmarks/tuning.py --json results.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark_table import finish, in_own_process, parser_of, row

HERE = Path(__file__).parent
SHARE_OF_BEST = 0.99
STEPS_GOAL, OVERHEAD_GOAL_SECONDS, SHARE_GOAL, WORKERS_GOAL = 5, 0.5, 0.05, 1.6
SEEDS, TRIALS = 5, 20
PARTS = ("search", "overhead", "workers")


def main() -> None:
    """Runs the comparison and prints it; ``--json FILE`` also writes it."""
    parser = parser_of(__doc__, "few seeds, no training")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--timed-study", nargs=3, metavar=("FOLDER", "WORKERS", "TRIALS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.timed_study:
        folder, workers, trials = arguments.timed_study
        print(json.dumps(time_study(Path(folder), int(workers), int(trials))))
        return
    parts = [arguments.only] if arguments.only else [part for part in PARTS if part != "workers" or not arguments.quick]
    rows = []
    for part in parts:
        if part == "search":
            rows += compare_searches(seeds=1 if arguments.quick else SEEDS)
        elif part == "overhead":
            rows += measure_overhead(trials=8 if arguments.quick else 40)
        else:
            rows += measure_workers()
    finish(rows, arguments.json)


def compare_searches(*, seeds: int) -> list[dict[str, Any]]:
    """Counts the steps of each search until it has what the grid has."""
    import tuning_searches as searches

    grid = searches.grid()
    target = SHARE_OF_BEST * max(searches.true_score(trained.choices) for trained in grid)
    grid_steps = sum(trained.steps for trained in grid)

    def steps_to_target(search: Callable[[int, int], list[searches.Trained]], seed: int) -> float:
        total = 0
        for trained in search(seed, TRIALS):
            total += trained.steps
            if trained.completed and searches.true_score(trained.choices) >= target:
                return total
        return total  # not reached: a lower bound of what it takes

    contestants = {
        "ours": searches.ours,
        "Optuna, random search": searches.plain_optuna,
        "Ray Tune, ASHA": searches.ray_asha,
    }
    steps = {}
    for name, search in contestants.items():
        steps[name] = [steps_to_target(search, seed) for seed in range(seeds)]
        print(f"{name}: {sorted(map(int, steps[name]))} steps", file=sys.stderr, flush=True)
    usual = {name: statistics.median(found) for name, found in steps.items()}
    metric = f"training steps to {SHARE_OF_BEST:.0%} of the grid's best score, median of {seeds} seeds (surrogate)"
    mission = f"the mission's grid, one setting at a time ({len(grid)} configurations)"
    return [
        row(metric, usual["ours"], grid_steps, mission, "steps", goal=STEPS_GOAL),
        row(metric, usual["ours"], usual["Optuna, random search"], "Optuna, random search", "steps"),
        row(metric, usual["ours"], usual["Ray Tune, ASHA"], "Ray Tune, ASHA", "steps"),
    ]


def measure_overhead(*, trials: int) -> list[dict[str, Any]]:
    """Times trials that do nothing: what is left is the executor's part, beside Optuna's own with a SQLite file."""

    def optuna_alone(folder: Path, trials: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)

        def run(trial: optuna.Trial) -> float:
            trial.suggest_categorical("lora.r", [4, 8, 16, 32])
            rate = trial.suggest_float("training.learning_rate", 1e-4, 1e-3, log=True)
            for step in range(10, 61, 10):
                trial.report(rate * step, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return rate

        sampler, pruner = optuna.samplers.TPESampler(seed=0), optuna.pruners.MedianPruner()
        study = optuna.create_study(storage=f"sqlite:///{folder}/study.db", sampler=sampler, pruner=pruner)
        study.optimize(run, n_trials=trials)

    ours = seconds_a_trial(run_light_study, trials)
    metric = f"executor's time a trial, six evaluations each, study of {trials} trials"
    return [
        row(metric, ours, seconds_a_trial(optuna_alone, trials), "Optuna with SQLite, no checkpoints or records", "s"),
        row(metric, ours, unit="s", goal=OVERHEAD_GOAL_SECONDS),
    ]


def run_light_study(folder: Path, trials: int) -> None:
    """Runs trials that do nothing, with what the executor does around them."""
    sys.path.append(str(Path(__file__).parents[1] / "tests" / "platform"))
    from light_study import LightStudy, light_defaults, light_settings

    from spelling_transfer.study.run import run_study

    settings = light_settings(n_trials=trials, sampler="tpe", pruner="median", checkpoint_every=50)
    run_study(settings, light_defaults(60), LightStudy(), folder=folder)


def seconds_a_trial(work: Callable[[Path, int], None], trials: int) -> float:
    """Returns the seconds a trial takes, libraries loaded before."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        work(Path(first), 1)
        start = time.perf_counter()
        work(Path(second), trials)
        return (time.perf_counter() - start) / trials


def measure_workers(trials: int = 40) -> list[dict[str, Any]]:
    """Times the same study of the embedded model with one worker and with two, each in a process of its own."""
    found = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            found[workers] = in_own_process(__file__, "--timed-study", folder, workers, trials)
    assert found[1]["scores"] == found[2]["scores"], "the scores depend on the number of workers"
    share = seconds_a_trial(run_light_study, 40) / (found[1]["training_seconds"] / trials)
    metric = f"study of {trials} trials of the embedded model"
    return [
        row(
            f"{metric}: two workers beside one",
            found[2]["seconds"],
            found[1]["seconds"],
            "one worker",
            "s",
            goal=WORKERS_GOAL,
        ),
        row("executor's time a trial as a share of its training", share, goal=SHARE_GOAL),
    ]


def time_study(folder: Path, workers: int, trials: int) -> dict[str, Any]:
    """Runs the study of the embedded model; returns its seconds, start-up of workers included, and its scores."""
    from embedded_study import embedded_defaults, embedded_material, embedded_settings

    from spelling_transfer.study.run import run_study

    material = embedded_material()
    start = time.perf_counter()
    result = run_study(
        embedded_settings(n_trials=trials, workers=workers), embedded_defaults(), material, folder=folder / "study"
    )
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "training_seconds": float(result.seconds["seconds"].sum()),
        "scores": result.trials["transfer_score"].tolist(),
    }


if __name__ == "__main__":
    main()
