"""Nodes of the tuning that train."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from spelling_transfer.models.folder import ABSENT, ModelFolder, new_folder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.statistics.scores import SCORED_TASKS, transfer_score
from spelling_transfer.study.config import RecommendationSettings, StudySettings, TrialConfig
from spelling_transfer.study.confirm import Retraining, control_examples, new_seeds, typical_run
from spelling_transfer.study.correctness import base_correctness, correctness_of, describe_questions, read_correctness
from spelling_transfer.study.machine import describe_environment
from spelling_transfer.study.material import TrialMaterial
from spelling_transfer.study.space import read_space
from spelling_transfer.study.watch import LiveView
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.subset import TokenSubset
from spelling_transfer.tracking import TrackingSettings, run_tracked_study


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
    material = _material(base_model, tokenizer, examples, encoded_examples, english_subset, model_profile, study)
    settings = study.model_copy(update={"space": search_space})
    folder = tuning_studies / study.name
    result = run_tracked_study(settings, trial, material, tracking, folder=folder, observers=[LiveView()])
    marks = read_correctness(result.curves, describe_questions(material.validation, tokenizer), result.base)
    scores = {name: value for name, value in asdict(result.base).items() if name != "correct"}
    curves = result.curves.drop(columns="correct")
    return result.trials, curves, result.seconds, scores, marks, describe_environment()


def train_best(
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
    settings: RecommendationSettings,
) -> tuple[ModelFolder, pd.DataFrame, pd.DataFrame]:
    """Trains the recommended configuration with new seeds; keeps the adapter with the middle score."""
    config = TrialConfig.model_validate(recommendation["config"])
    data = (base_model, tokenizer, examples, encoded_examples, english_subset, model_profile)
    material = _material(*data, study, evaluate_every=config.training.max_steps)
    retraining = Retraining(material, tuning_studies / study.name)
    questions = describe_questions(material.validation, tokenizer)
    adapters, rows, marks = {}, [], []
    for seed in new_seeds(trials, settings.seeds):
        adapters[seed], outcome = retraining.run(config.varied({"training.seed": seed}))
        end = outcome.curve[-1]
        scores = {task: getattr(end, task) for task in SCORED_TASKS}
        score = transfer_score(end.spelling, end.position, end.count, study.weights)
        rows.append(
            {"seed": seed, "steps": outcome.steps, "loss": outcome.final_loss, **scores, "transfer_score": score}
        )
        marks.append(correctness_of(seed, end.correct, questions, base_correctness(trial_marks, questions)))
    runs = pd.DataFrame(rows)
    return adapters[typical_run(runs)], runs, pd.concat(marks, ignore_index=True)


def train_control(
    recommendation: dict[str, Any],
    confirmation_runs: pd.DataFrame,
    trial_marks: pd.DataFrame,
    tuning_studies: Path,
    base_model: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    english_subset: dict[str, Any],
    model_profile: ModelProfile,
    study: StudySettings,
    settings: RecommendationSettings,
) -> tuple[ModelFolder, pd.DataFrame]:
    """Trains the recommended configuration on other words' spellings: the arm that learns the form alone."""
    if not settings.control:
        place = tempfile.TemporaryDirectory(prefix="spelling-transfer-")
        target = Path(place.name) / "control"
        with new_folder(target, {"kind": ABSENT, "why": "recommendation.control is false"}):
            pass
        # The folder lives as long as its handle: until the catalog has copied it.
        return ModelFolder(target, owner=place), trial_marks.iloc[:0]
    seed = typical_run(confirmation_runs)
    config = TrialConfig.model_validate(recommendation["config"]).varied({"training.seed": seed})
    control = control_examples(encoded_examples, config)
    data = (base_model, tokenizer, examples, control, english_subset, model_profile)
    material = _material(*data, study, evaluate_every=config.training.max_steps)
    adapter, outcome = Retraining(material, tuning_studies / study.name).run(config)
    questions = describe_questions(material.validation, tokenizer)
    correct = outcome.curve[-1].correct
    return adapter, correctness_of(seed, correct, questions, base_correctness(trial_marks, questions))


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
