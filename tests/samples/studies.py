"""Studies with known gains, as the pipeline hands them on: no training, all numbers from a seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure

from spelling_transfer.models.folder import ModelFolder, new_folder
from spelling_transfer.pages import study_figures
from spelling_transfer.statistics.scores import SCORED_TASKS, transfer_score
from spelling_transfer.study.config import AnalysisSettings, StudySettings, TrialConfig
from spelling_transfer.study.confirm import confirm, new_seeds
from spelling_transfer.study.correctness import resample_correctness
from spelling_transfer.study.findings import (
    StudyFindings,
    analyse_transfer,
    find_patterns,
    measure_changes,
    rate_settings,
)
from spelling_transfer.study.interfaces import Evaluation, TrialOutcome
from spelling_transfer.study.recommend import recommend

SPACE: dict[str, Any] = {
    "lora.r": {"values": [4, 8, 16, 32]},
    "training.learning_rate": {"low": 1e-4, "high": 5e-3, "log": True},
    "spelling.spelling_difficulty": {"values": ["easy", "medium", "hard", "all"]},
    "tokenizer.use_english_only_tokens": {"values": [False, True]},
}
BASE = {"spelling": 0.3, "position": 0.2, "count": 0.4}
FAMILIES = 150
ANALYSIS = AnalysisSettings(n_resamples=199, importance_seeds=2)
BOOTSTRAP = ANALYSIS.bootstrap


def marks_of_gains(
    numbers: list[int],
    gains: list[dict[str, float]],
    seed: int = 0,
    *,
    families: int = FAMILIES,
    same_luck: bool = False,
) -> pd.DataFrame:
    """Returns marks in which each trial gains (or loses) these shares over the base model."""
    frames = []
    for place, task in enumerate(SCORED_TASKS):
        # The base model is the same one in every call, whatever else is drawn.
        base = np.random.default_rng([0, place]).random(families) < BASE[task]
        luck = np.random.default_rng([seed, 1, place]).random((1 if same_luck else len(numbers), families))
        for row, (number, gain) in enumerate(zip(numbers, gains, strict=True)):
            change, own = gain.get(task, 0.0), luck[0 if same_luck else row]
            exact = base | (own < change / (1 - BASE[task])) if change >= 0 else base & (own > -change / BASE[task])
            frames.append(
                pd.DataFrame(
                    {
                        "number": number,
                        "example_id": [f"{task}-{i}" for i in range(families)],
                        "task": task,
                        "stem": [f"stem{i}" for i in range(families)],
                        "word": [f"word{i}" for i in range(families)],
                        "difficulty": [("easy", "medium", "hard")[i % 3] for i in range(families)],
                        "n_tokens": [1 + i % 5 for i in range(families)],
                        "base": base,
                        "exact": exact,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def _curves(trials: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for trial in trials.to_dict("records"):
        for share in (1 / 3, 2 / 3, 1):
            scores = {task: BASE[task] + share**0.5 * (trial[task] - BASE[task]) for task in SCORED_TASKS}
            rows.append({"number": trial["number"], "step": round(share * trial["steps"]), **scores})
    return pd.DataFrame(rows).assign(
        transfer_score=lambda f: transfer_score(f["spelling"], f["position"], f["count"]),
        selection_score=lambda f: f["spelling"],
    )


def _trials(n: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    settings = pd.DataFrame(
        {
            "lora.r": rng.choice([4, 8, 16, 32], n),
            "training.learning_rate": 10 ** rng.uniform(-4, -2.3, n),
            "spelling.spelling_difficulty": rng.choice(["easy", "medium", "hard", "all"], n),
            "tokenizer.use_english_only_tokens": rng.random(n) < 0.5,
        }
    )
    strength = (np.log10(settings["training.learning_rate"]) + 4) / 1.7
    gains = [
        {"spelling": 0.05 + 0.3 * each, "position": 0.08 * each + rng.normal(0, 0.02), "count": -0.05 * each}
        for each in strength
    ]
    marks = marks_of_gains(list(range(n)), gains)
    shares = marks.groupby(["number", "task"])["exact"].mean().unstack()[list(SCORED_TASKS)]
    trials = pd.concat([pd.DataFrame({"number": range(n), "state": "complete"}), settings], axis=1).assign(
        seed=range(n), steps=[60 if i % 3 else 90 for i in range(n)], loss=0.5, **{t: shares[t] for t in SCORED_TASKS}
    )
    return _with_scores(trials), marks


def _make_study(
    gains: list[dict[str, float]], *, families: int = 200, steps: list[int] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    marks = marks_of_gains(list(range(len(gains))), gains, families=families, same_luck=True)
    shares = marks.groupby(["number", "task"])["exact"].mean().unstack()
    trials = pd.DataFrame(
        {
            "number": range(len(gains)),
            "state": "complete",
            "lora.r": [(4, 8, 16, 32)[number % 4] for number in range(len(gains))],
            "training.learning_rate": [1e-4 * (1 + number) for number in range(len(gains))],
            "seed": range(len(gains)),
            "steps": steps or 60,
            "loss": 0.5,
            **{task: shares[task].to_numpy() for task in SCORED_TASKS},
        }
    )
    return _with_scores(trials), marks


def _with_scores(trials: pd.DataFrame) -> pd.DataFrame:
    scores = transfer_score(trials["spelling"], trials["position"], trials["count"])
    return trials.assign(transfer_score=scores, selection_score=trials["spelling"])


def _study_findings(n: int = 3, *, seeds: int = 1, with_control: bool = True) -> StudyFindings:
    """Returns a study of ``n`` trials; of ten and more, some were pruned and one failed."""
    rng = np.random.default_rng(n)
    trials, marks = _trials(n, rng)
    curves = _curves(trials)
    if n >= 10:
        trials.loc[trials.index % 7 == 3, "state"] = "pruned"
        trials.loc[n - 1, "state"] = "failed"
        trials.loc[n - 1, [*SCORED_TASKS, "transfer_score", "selection_score", "loss"]] = np.nan
        marks, curves = marks[marks["number"] != n - 1], curves[curves["number"] != n - 1]
    study = StudySettings(name="demo", n_trials=n, sampler="tpe", space=SPACE, validation_words=FAMILIES)
    base = Evaluation(0, **{t: float(marks[marks["task"] == t]["base"].mean()) for t in SCORED_TASKS})
    analysis = analyse_transfer(
        trials, curves, base, sampler=study.sampler, startup_trials=study.startup_trials, bootstrap=BOOTSTRAP
    )
    first = recommend(trials, marks, SPACE, study, TrialConfig(), ANALYSIS)
    again = new_seeds(trials, seeds)
    run_marks = marks_of_gains(again, [{"spelling": 0.3, "position": 0.06, "count": -0.04}] * seeds)
    shares = run_marks.groupby(["number", "task"])["exact"].mean().unstack()
    runs = pd.DataFrame({"seed": again, "steps": 60, "loss": 0.4, **{t: shares[t].to_numpy() for t in SCORED_TASKS}})
    runs = _with_scores(runs)
    control = marks_of_gains([again[0]], [{"spelling": -0.2, "position": 0.04, "count": -0.04}])
    control = control if with_control else control.iloc[:0]
    return StudyFindings(
        trials=trials,
        curves=curves,
        seconds=pd.DataFrame({"number": trials["number"], "seconds": 20 + 5 * rng.random(n)}),
        analysis=analysis,
        changes=measure_changes(trials, resample_correctness(marks, BOOTSTRAP)),
        patterns=find_patterns(trials, marks, analysis["base"], bootstrap=BOOTSTRAP),
        importance=rate_settings(trials, SPACE, ANALYSIS),
        best=confirm(first, runs, run_marks, control, study, ANALYSIS),
        search_space=SPACE,
        environment={"system": "Linux", "architecture": "x86_64", "processors": 2, "accelerator": "none",
                     "python": "3.11.9", "packages": {"torch": "2.9", "peft": "0.19", "optuna": "5.0"}},
        study=study,
        defaults=TrialConfig(),
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_study() -> Callable[..., tuple[pd.DataFrame, pd.DataFrame]]:
    """Returns a function from gains by trial to the trials frame and the marks frame."""
    return _make_study


@pytest.fixture(scope="session")
def study_findings() -> Callable[..., StudyFindings]:
    """Returns a function that makes everything a study of so many trials found."""
    return cache(_study_findings)


@pytest.fixture(scope="session")
def gained_marks() -> Callable[..., pd.DataFrame]:
    """Returns a function from trial numbers and their gains to marks."""
    return marks_of_gains


def figures_of(found: StudyFindings) -> dict[str, Figure]:
    """Returns the figures of a study's page."""
    base, best = found.analysis["base"], found.best["trial"]
    return {
        "curves": study_figures.plot_learning_curves(found.curves, base, best),
        "transfer": study_figures.plot_transfer(found.changes, best),
        "paths": study_figures.plot_transfer_paths(found.curves, base, best),
        "patterns": study_figures.plot_patterns(found.patterns),
        "pareto": study_figures.plot_pareto(found.trials, base, best),
        "importance": study_figures.plot_importance(found.importance),
        "parallel": study_figures.plot_parallel(found.trials, found.search_space),
        "history": study_figures.plot_history(found.trials, found.seconds),
    }


class Material:
    """Trains nothing and notes the seeds; an adapter is a file with arm, seed and learning rate in it.

    An arm that fails does so with its folder written and its outcome not.
    """

    def __init__(
        self, data: str = "words", fails: dict[str, BaseException] | None = None, evaluate_every: int = 25
    ) -> None:
        self.data, self.fails, self.evaluate_every = data, fails or {}, evaluate_every
        self.trained: list[int] = []

    def identity(self) -> dict[str, str]:
        return {"training_examples": self.data}

    def open(self) -> Material:
        return self

    def train_adapter(self, config: TrialConfig, target: Path, arm: str) -> tuple[ModelFolder, TrialOutcome]:
        notes = [arm, config.training.seed, config.training.learning_rate]
        self.trained.append(config.training.seed)
        with new_folder(target, {"kind": "adapter", "arm": arm}) as work:
            (work / "adapter.txt").write_text(json.dumps(notes))
        if arm in self.fails:
            raise self.fails[arm]
        curve = [Evaluation(step, step / 100, 0.2, 0.3, (True, step == 50)) for step in (25, 50)]
        return ModelFolder(target), TrialOutcome(curve, 0.5, 50, "complete", (0.9, 0.88))
