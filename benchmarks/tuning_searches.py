"""The searches that benchmarks/tuning.py compares, on the same surrogate; each returns what it trained, in order."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tuning_surrogate
import yaml

from spelling_transfer.statistics.scores import transfer_score
from spelling_transfer.study.choices import choices_of, planned_trials
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.interfaces import Evaluation, Monitor, TrialOutcome
from spelling_transfer.study.run import run_study
from spelling_transfer.study.space import read_space

STUDY = Path(__file__).parents[1] / "conf/base/study"
EVALUATE_EVERY = 15
REDUCTION_FACTOR = 3
_BATCH, _ACCUMULATE, _LARGEST_STEP = "training.batch_size", "training.grad_accum_steps", 128
"""The constraint of search_spaces/embedded.yml, for searches that know no constraints."""


class Trained(NamedTuple):
    """One configuration that a search has trained.

    Attributes:
        choices: What it tried, by dotted setting name.
        steps: Training steps it spent on it.
        completed: Whether it was trained to its end.
    """

    choices: Mapping[str, Any]
    steps: int
    completed: bool


def read(name: str) -> dict[str, Any]:
    """Returns a file of conf/base/study without its version."""
    content: dict[str, Any] = yaml.safe_load((STUDY / name).read_text())
    content.pop("version", None)
    return content


SPACE = read("search_spaces/embedded.yml")
DEFAULTS = TrialConfig.model_validate(read("training/embedded.yml"))
VALUES = {name: entry["values"] for name, entry in SPACE.items() if name != "constraints"}


def config_of(choices: Mapping[str, Any], seed: int = 0) -> TrialConfig:
    """Returns a configuration."""
    return DEFAULTS.varied({**choices, "training.seed": seed})


def true_score(choices: Mapping[str, Any]) -> float:
    """Returns the score that a configuration has at its end, without the noise of questions."""
    config = config_of(choices)
    expected = tuning_surrogate.expected_scores(config, config.training.max_steps)
    return float(transfer_score(expected["spelling"], expected["position"], expected["count"]))


def evaluations(config: TrialConfig) -> list[int]:
    """Returns the steps at which a trial is scored."""
    steps = config.training.max_steps
    return [*range(EVALUATE_EVERY, steps, EVALUATE_EVERY), steps]


def seen_score(evaluation: Evaluation) -> float:
    """Returns the score that a search sees."""
    return float(transfer_score(evaluation.spelling, evaluation.position, evaluation.count))


def objective(config: TrialConfig, monitor: Monitor) -> TrialOutcome:
    """Runs a surrogate trial."""
    curve = []
    for step in evaluations(config):
        curve.append(tuning_surrogate.evaluate(config, step))
        if (verdict := monitor(curve[-1])) != "complete":
            break
    return TrialOutcome(curve, 0.0, curve[-1].step, verdict)


def grid() -> list[Trained]:
    """The mission's grid: one setting at a time, every configuration to its end."""
    settings = StudySettings(sampler="one_at_a_time", n_trials=None, space=SPACE)
    space = read_space(SPACE, DEFAULTS)
    rows = [choices_of(space, settings, number) or {} for number in range(planned_trials(space, settings))]
    return [Trained(row, config_of(row).training.max_steps, completed=True) for row in rows]


def ours(seed: int, n_trials: int) -> list[Trained]:
    """The default search: TPE and Hyperband."""
    settings = StudySettings(
        name=f"benchmark-{seed}",
        sampler="tpe",
        pruner="hyperband",
        reduction_factor=REDUCTION_FACTOR,
        n_trials=n_trials,
        seed=seed * 10_000,
        space=SPACE,
        transfer_eval_frequency=EVALUATE_EVERY,
    )
    trials = run_study(settings, DEFAULTS, objective).trials.to_dict("records")
    return [
        Trained({name: row[name] for name in VALUES}, int(row["steps"]), completed=row["state"] == "complete")
        for row in trials
    ]


def plain_optuna(seed: int, n_trials: int) -> list[Trained]:
    """Optuna's random search as its first page shows it: nothing is ended early."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trained = []

    def run(trial: optuna.Trial) -> float:
        choices = {name: trial.suggest_categorical(name, values) for name, values in VALUES.items()}
        if choices[_BATCH] * choices[_ACCUMULATE] > _LARGEST_STEP:
            choices[_ACCUMULATE] = 1
        config = config_of(choices, seed * 10_000 + trial.number)
        steps = config.training.max_steps
        trained.append(Trained(choices, steps, completed=True))
        return seen_score(tuning_surrogate.evaluate(config, steps))

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=seed))
    study.optimize(run, n_trials=n_trials)
    return trained


def ray_asha(seed: int, n_trials: int) -> list[Trained]:
    """Ray Tune's ASHA, with the same first rung, reduction and steps at which trials are scored."""
    os.environ.update(RAY_AIR_NEW_OUTPUT="0", RAY_DEDUP_LOGS="0", RAY_TRAIN_V2_ENABLED="0")
    warnings.simplefilter("ignore")
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    if not ray.is_initialized():
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    longest = max(VALUES["training.max_steps"])
    scheduler = ASHAScheduler(
        time_attr="step", max_t=longest, grace_period=EVALUATE_EVERY, reduction_factor=REDUCTION_FACTOR
    )
    tuner = tune.Tuner(
        _ray_trial,
        param_space={**{name: tune.choice(values) for name, values in VALUES.items()}, "seed": seed},
        tune_config=tune.TuneConfig(
            metric="score",
            mode="max",
            num_samples=n_trials,
            scheduler=scheduler,
            max_concurrent_trials=1,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(verbose=0, storage_path=tempfile.mkdtemp(prefix="tuning-ray-")),
    )
    np.random.seed(seed)  # Ray draws from here
    trained = []
    for result in tuner.fit():
        choices = _allowed(result.config or {})
        steps = int((result.metrics or {})["step"])
        trained.append(Trained(choices, steps, completed=steps == config_of(choices).training.max_steps))
    return trained


def _allowed(config: Mapping[str, Any]) -> dict[str, Any]:
    choices = {name: config[name] for name in VALUES}
    if choices[_BATCH] * choices[_ACCUMULATE] > _LARGEST_STEP:
        choices[_ACCUMULATE] = 1
    return choices


def _ray_trial(config: dict[str, Any]) -> None:
    from ray import tune

    number = int(tune.get_context().get_trial_id().rpartition("_")[2])
    trial = config_of(_allowed(config), config["seed"] * 10_000 + number)
    for step in evaluations(trial):
        tune.report({"step": step, "score": seen_score(tuning_surrogate.evaluate(trial, step))})
