"""Runs a study: Optuna chooses and prunes, each trial's seed comes from its number, the result is a table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import pandas as pd

from spelling_transfer.study.choices import planned_trials
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.scores import transfer_score
from spelling_transfer.study.space import draw, read_space

if TYPE_CHECKING:
    import optuna


Verdict = Literal["complete", "stopped", "pruned"]
"""``complete``: go on, or all steps taken; ``stopped``: no longer gaining, still counts; ``pruned``: hopeless."""


@dataclass(frozen=True)
class Evaluation:
    """Scores at one point of a trial; the fields are accuracies on validation words in 0..1.

    ``marks`` says of each validation question, in their order, whether it was answered right (``1``) or wrong (``0``);
    it is carried from the trial to ``trial_marks``, so that two trials can be compared question by question.
    """

    step: int
    spelling: float
    position: float
    count: float
    marks: str = ""


class TrialOutcome(NamedTuple):
    """What a finished trial leaves.

    Attributes:
        curve: Scores during training, the last one at the end.
        final_loss: Training loss of the last step.
        steps: Optimiser steps taken.
        verdict: How it ended.
    """

    curve: list[Evaluation]
    final_loss: float
    steps: int
    verdict: Verdict


class Objective(Protocol):
    """Trains and scores one configuration."""

    def __call__(self, config: TrialConfig, monitor: Callable[[Evaluation], Verdict]) -> TrialOutcome:
        """Trains one configuration; tells ``monitor`` each evaluation and ends unless it answers ``complete``."""
        ...


class StudyResult(NamedTuple):
    """A finished study.

    Attributes:
        trials: One row a trial: number, state, settings, seed, scores of its best evaluation, transfer score.
        curves: One row an evaluation: trial, step, spelling, position, count, transfer score.
        seconds: Seconds a trial; apart, because times differ from run to run.
    """

    trials: pd.DataFrame
    curves: pd.DataFrame
    seconds: pd.DataFrame


def run_study(
    settings: StudySettings,
    defaults: TrialConfig,
    objective: Objective,
    *,
    on_trial: Callable[[dict[str, Any]], None] | None = None,
) -> StudyResult:
    """Runs all trials of a study, one after the other.

    Args:
        settings: The study.
        defaults: The configuration its space varies.
        objective: Trains and scores one configuration.
        on_trial: Called with each finished row, for progress.

    Raises:
        StudyConfigError: The space is not valid; raised before anything is trained.
    """
    import optuna

    from spelling_transfer.study.samplers import make_pruner, make_sampler

    space = read_space(settings.space, defaults)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=settings.name,
        direction="maximize",
        sampler=make_sampler(settings, space),
        pruner=make_pruner(settings, defaults.training.max_steps),
    )
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    seconds: list[dict[str, Any]] = []
    for _ in range(planned_trials(space, settings)):
        trial = study.ask()
        choices = draw(trial, space)
        seed = settings.seed + trial.number
        config = defaults.varied({**choices, "training.seed": seed})
        started = time.perf_counter()
        outcome = objective(config, _Monitor(trial, settings))
        seconds.append({"number": trial.number, "seconds": time.perf_counter() - started})
        scored = [_scored(evaluation, settings) for evaluation in outcome.curve]
        # The adapter of a trial is the one at its end; a better evaluation in the middle is not what it leaves.
        final = scored[-1]
        pruned = outcome.verdict == "pruned"
        state = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE
        study.tell(trial, None if pruned else final["transfer_score"], state=state)
        curves += [{"number": trial.number, **row} for row in scored]
        row = {
            "number": trial.number,
            "state": outcome.verdict,
            **choices,
            "seed": seed,
            "steps": outcome.steps,
            "loss": outcome.final_loss,
            **{key: final[key] for key in ("spelling", "position", "count", "transfer_score")},
        }
        rows.append(row)
        if on_trial is not None:
            on_trial(row)
    return StudyResult(pd.DataFrame(rows), pd.DataFrame(curves), pd.DataFrame(seconds))


class _Monitor:
    """Tells a trial whether to go on: prunes against earlier trials, stops early where it no longer gains."""

    def __init__(self, trial: optuna.Trial, settings: StudySettings) -> None:
        self._trial = trial
        self._settings = settings
        self._best = float("-inf")
        self._without_gain = 0

    def __call__(self, evaluation: Evaluation) -> Verdict:
        score = _scored(evaluation, self._settings)["transfer_score"]
        self._trial.report(score, evaluation.step)
        self._without_gain = 0 if score > self._best else self._without_gain + 1
        self._best = max(self._best, score)
        if self._trial.should_prune():
            return "pruned"
        patience = self._settings.patience
        return "stopped" if patience is not None and self._without_gain >= patience else "complete"


def _scored(evaluation: Evaluation, settings: StudySettings) -> dict[str, Any]:
    score = transfer_score(evaluation.spelling, evaluation.position, evaluation.count, settings.weights)
    return {**asdict(evaluation), "transfer_score": float(score)}
