"""Trains a winner again: what it scores with seeds that did not choose it, and beside its form control."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kedro_lightning import machine_count
from spelling_transfer.files import write_text
from spelling_transfer.models.folder import ModelFolder, ModelFolderError
from spelling_transfer.statistics.intervals import Interval, t_interval
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import SCORED_TASKS, Resampled
from spelling_transfer.study.config import AnalysisSettings, StudySettings, TrialConfig
from spelling_transfer.study.correctness import resample_correctness
from spelling_transfer.study.interfaces import TrialOutcome, evaluation_of
from spelling_transfer.tasks.arms import SPELLING_ARM, TrainedArm

if TYPE_CHECKING:
    from spelling_transfer.study.material import TrialMaterial
    from spelling_transfer.study.trial import TrialRunner


def new_seeds(trials: pd.DataFrame, n: int) -> list[int]:
    """Returns seeds that no trial of the study had."""
    first = int(trials["seed"].max()) + 1
    return list(range(first, first + n))


def typical_run(runs: pd.DataFrame) -> int:
    """Returns the seed of the run with the middle score; of two in the middle, the lower. The best would be luck."""
    ordered = runs.sort_values(["selection_score", "seed"], kind="stable")
    return int(ordered["seed"].iloc[(len(ordered) - 1) // 2])


def confirm(
    recommendation: dict[str, Any],
    runs: pd.DataFrame,
    marks: pd.DataFrame,
    control_marks: pd.DataFrame,
    study: StudySettings,
    analysis: AnalysisSettings,
) -> dict[str, Any]:
    """Returns the recommendation with what its configuration scored with new seeds.

    The number of the marks is the seed of a run of the winner; without a form control there are no control marks.

    Returns:
        The recommendation; its ``config`` has the seed of the adapter that is kept. ``confirmation`` holds the
        ``seeds``, the ``mean`` transfer score with ``interval_over_words`` (other words, these runs), and
        ``interval_over_seeds`` (Student's t over runs; ``None`` for one run, or for equal ones), ``selected`` (what the
        winning trial scored) and ``optimism`` (how much of that was luck), the ``base`` score and the ``gain`` over it
        with its interval, ``task_gains`` (the interval of each task's gain), and ``control``: for each task and the
        transfer score the mean difference to the form control.
    """
    kept = typical_run(runs)
    config = {**recommendation["config"], "training": {**recommendation["config"]["training"], "seed": kept}}
    found = resample_correctness(marks, analysis.bootstrap)
    scores, base = _mean(found.transfer_scores(study.weights)), found.base_transfer_score(study.weights)
    gain = Resampled(scores.value - base.value, scores.resamples - base.resamples)
    gains = _mean(found.gains())
    values = runs["transfer_score"].to_numpy(dtype=float)
    confirmation = {
        "seeds": [int(each) for each in runs["seed"]],
        "kept_seed": kept,
        "mean": float(values.mean()),
        "lowest": float(values.min()),
        "highest": float(values.max()),
        "interval_over_words": ends(scores.interval()),
        "interval_over_seeds": ends(t_interval(values)),
        "selected": recommendation["transfer_score"],
        "optimism": float(recommendation["transfer_score"] - values.mean()),
        "base": float(base.value),
        "gain": float(gain.value),
        "gain_interval": ends(gain.interval()),
        "tasks": {task: float(runs[task].mean()) for task in SCORED_TASKS},
        "task_gains": {task: ends(gains.interval(place)) for place, task in enumerate(SCORED_TASKS)},
        "control": _against_control(marks, control_marks, study, analysis.bootstrap),
    }
    return {**recommendation, "config": config, "confirmation": confirmation}


def _against_control(
    marks: pd.DataFrame, control_marks: pd.DataFrame, study: StudySettings, bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    if control_marks.empty:
        return []
    # The control is one more run on the same questions, so it takes the place of the base model.
    right = control_marks.set_index("example_id")["exact"]
    found = resample_correctness(marks.assign(base=marks["example_id"].map(right)), bootstrap)
    gains = _mean(found.gains())
    rows = []
    for place, task in enumerate(SCORED_TASKS):
        rows.append(_difference_row(task, found.base.value[place], gains.value[place], gains.interval(place)))
    scores, control = _mean(found.transfer_scores(study.weights)), found.base_transfer_score(study.weights)
    change = Resampled(scores.value - control.value, scores.resamples - control.resamples)
    return [*rows, _difference_row("transfer_score", control.value, change.value, change.interval())]


def _difference_row(name: str, control: Any, difference: Any, interval: Interval) -> dict[str, Any]:
    return {
        "measure": name,
        "control": float(control),
        "difference": float(difference),
        "interval": ends(interval),
        "excludes_zero": interval.excludes(0.0),
    }


def _mean(scores: Resampled) -> Resampled:
    return Resampled(scores.value.mean(axis=0), scores.resamples.mean(axis=1))


def ends(interval: Interval) -> list[float] | None:
    """Returns the ends of an interval as JSON holds them; ``None`` where there is none."""
    return None if np.isnan(interval.low) else [interval.low, interval.high]


_FOLDER = "retrained"
_FORMAT = 3
"""Of the outcomes; those of another format are not read."""


class Retraining:
    """Trains adapters into a study's folder, or finds them there.

    A run is known by the hash of its arm, its configuration, all that it is trained and scored on, and the steps from
    score to score. It is there once its outcome is written, which comes last, so a run that was killed is trained again
    and one that ended is not.

    Args:
        material: What is trained and scored on; opened only where something must be trained.
        folder: The study's folder.
    """

    def __init__(self, material: TrialMaterial, folder: Path) -> None:
        self._material = material
        # Machines that train together do each step together: what one of them has from before helps none of them.
        self._together = machine_count() > 1
        self._folder = folder / (f"{_FOLDER}-{os.environ.get('NODE_RANK', '0')}" if self._together else _FOLDER)

    @cached_property
    def _trainer(self) -> TrialRunner:
        return self._material.open()

    def run(self, config: TrialConfig, arm: TrainedArm = SPELLING_ARM) -> tuple[ModelFolder, TrialOutcome]:
        """Returns the adapter of a configuration trained as an arm, and what its training left."""
        trained_on, every = dict(self._material.identity()), self._material.evaluate_every
        known = json.dumps([_FORMAT, arm, config.model_dump(mode="json"), trained_on, every], sort_keys=True)
        target = self._folder / hashlib.sha256(known.encode()).hexdigest()[:24]
        record = target.with_suffix(".json")
        if not self._together and (found := _found(target, record)) is not None:
            return found
        adapter, outcome = self._trainer.train_adapter(config, target, arm)
        left = {
            "curve": [asdict(each) for each in outcome.curve],
            "loss": outcome.final_loss,
            "steps": outcome.steps,
            "plain_lines": outcome.plain_lines,
        }
        write_text(record, json.dumps(left))
        return adapter, outcome


def _found(target: Path, record: Path) -> tuple[ModelFolder, TrialOutcome] | None:
    if not record.is_file():
        return None
    try:
        adapter = ModelFolder.open(target)
    except ModelFolderError:  # taken away or altered: train it again
        return None
    left = json.loads(record.read_text(encoding="utf-8"))
    curve = [evaluation_of(each) for each in left["curve"]]
    plain = left["plain_lines"] and tuple(left["plain_lines"])
    return adapter, TrialOutcome(curve, left["loss"], left["steps"], "complete", plain)
