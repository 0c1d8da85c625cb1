"""Nodes of the tuning that train."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.statistics.scores import SCORED_TASKS, transfer_score
from spelling_transfer.study.arms import ArmSettings, train_arms
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.confirm import Retraining, new_seeds, typical_run
from spelling_transfer.study.correctness import base_correctness, correctness_of, describe_questions, read_correctness
from spelling_transfer.study.machine import describe_environment
from spelling_transfer.study.material import TrialMaterial
from spelling_transfer.study.selection import selection_score
from spelling_transfer.study.space import read_space
from spelling_transfer.tasks.arms import FORM_CONTROL, SPELLING_ARM
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.subset import TokenSubset
from spelling_transfer.tracking import TrackingSettings


def read_search_space(study: StudySettings, trial: TrialConfig) -> dict[str, Any]:
    """Checks the search space before anything is trained and returns it in full."""
    return read_space(study.space, trial).as_data()


def run_trials(
    search_space: dict[str, Any],
    tuning_studies: Path,
    base_model: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    english_subset: dict[str, Any],
    model_profile: ModelProfile,
    study: StudySettings,
    trial: TrialConfig,
    tracking: TrackingSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any], pd.DataFrame, dict[str, Any]]:
    """Trains and scores every trial of the study, and scores the base model on the same validation questions."""
    # Here, so that a command that looks at pipelines alone need not import what talks to databases.
    from spelling_transfer.study.watch import LiveView
    from spelling_transfer.tracking import run_tracked_study

    material = _material(base_model, tokenizer, examples, encoded_examples, english_subset, model_profile, study)
    settings = study.model_copy(update={"space": search_space})
    folder = tuning_studies / study.name
    result = run_tracked_study(settings, trial, material, tracking, folder=folder, observers=[LiveView()])
    marks = read_correctness(result.curves, describe_questions(material.validation, tokenizer), result.base)
    scores = {name: value for name, value in asdict(result.base).items() if name != "correct"}
    curves = result.curves.drop(columns="correct")
    return result.trials, curves, result.seconds, scores, marks, describe_environment()


def train_all(
    recommendation: dict[str, Any],
    trials: pd.DataFrame,
    trial_marks: pd.DataFrame,
    tuning_studies: Path,
    base_model: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    english_subset: dict[str, Any],
    model_profile: ModelProfile,
    study: StudySettings,
    settings: ArmSettings,
) -> tuple[ModelFolder, ModelFolder, pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Trains every arm with the recommended configuration and new seeds; of spelling the middle run is the best."""
    config = TrialConfig.model_validate(recommendation["config"])
    data = (base_model, tokenizer, examples, encoded_examples, english_subset, model_profile)
    material = _material(*data, study, evaluate_every=-(-config.training.max_steps // settings.evaluations))
    retraining = Retraining(material, tuning_studies / study.name)
    arms = train_arms(config, new_seeds(trials, settings.seeds), settings, retraining)
    runs = arms.runs()
    spelling, position, count = (runs[task].to_numpy(dtype=float) for task in SCORED_TASKS)
    runs = runs.assign(
        transfer_score=transfer_score(spelling, position, count, study.weights),
        selection_score=selection_score(spelling, position, count, study.select_by, study.weights),
    )
    confirmation = runs[runs["arm"] == SPELLING_ARM].drop(columns="arm").reset_index(drop=True)
    questions = describe_questions(material.validation, tokenizer)
    base = base_correctness(trial_marks, questions)
    kept = typical_run(confirmation)
    marks, control = (
        [correctness_of(seed, correct, questions, base) for seed, correct in arms.correct(arm).items()]
        for arm in (SPELLING_ARM, FORM_CONTROL)
    )
    of_kept = [each[each["number"] == kept] for each in control]
    return (
        arms.adapters[SPELLING_ARM, kept],
        arms.folder(base_model),
        arms.curves(),
        runs,
        confirmation,
        pd.concat(marks, ignore_index=True),
        pd.concat(of_kept, ignore_index=True) if of_kept else marks[0].iloc[:0],
    )


def _material(
    base_model: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    english_subset: dict[str, Any],
    model_profile: ModelProfile,
    study: StudySettings,
    *,
    evaluate_every: int | None = None,
) -> TrialMaterial:
    return TrialMaterial(
        base_model,
        model_profile,
        tokenizer,
        examples,
        encoded_examples,
        TokenSubset.from_json(english_subset).answer_ids,
        validation_words=study.validation_words,
        evaluate_every=evaluate_every or study.transfer_eval_frequency,
    )
