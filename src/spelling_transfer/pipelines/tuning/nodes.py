"""Nodes of the tuning."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.executor import Evaluation, run_study
from spelling_transfer.study.figures import plot_learning_curves, plot_transfer
from spelling_transfer.study.marks import describe_questions, read_marks
from spelling_transfer.study.recommend import recommend
from spelling_transfer.study.report import render_tuning_page
from spelling_transfer.study.space import read_space
from spelling_transfer.study.transfer import analyse_transfer
from spelling_transfer.study.trial import TrialRunner
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.subset import TokenSubset

Figure = Any
"""Plotly's; not imported, as Kedro looks up every type of a node that has parameters."""


def read_search_space(study: StudySettings, trial: TrialConfig) -> dict[str, Any]:
    """Checks the search space before anything is trained and returns it in full."""
    return read_space(study.space, trial).as_data()


def run_trials(
    search_space: dict[str, Any],
    base_model: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    english_subset: dict[str, Any],
    model_profile: ModelProfile,
    study: StudySettings,
    trial: TrialConfig,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any], pd.DataFrame]:
    """Trains and scores every trial of the study, and scores the base model on the same validation questions."""
    runner = _runner(base_model, tokenizer, examples, encoded_examples, english_subset, model_profile, study)
    base = runner.evaluate(step=0)
    result = run_study(study.model_copy(update={"space": search_space}), trial, runner)
    marks = read_marks(result.curves, describe_questions(runner.validation, tokenizer), base)
    scores = {name: value for name, value in asdict(base).items() if name != "marks"}
    return result.trials, result.curves.drop(columns="marks"), result.seconds, scores, marks


def analyse(trials: pd.DataFrame, curves: pd.DataFrame, base: dict[str, Any]) -> dict[str, Any]:
    """Measures each task's gain over the base model and how the gains go together."""
    return analyse_transfer(trials, curves, Evaluation(**base))


def choose(trials: pd.DataFrame, trial: TrialConfig) -> dict[str, Any]:
    """Recommends the configuration of the best trial."""
    return recommend(trials, trial)


def train_best(
    best_config: dict[str, Any],
    base_model: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    english_subset: dict[str, Any],
    model_profile: ModelProfile,
    study: StudySettings,
    trial: TrialConfig,
) -> ModelFolder:
    """Trains the recommended configuration and returns its adapter."""
    runner = _runner(base_model, tokenizer, examples, encoded_examples, english_subset, model_profile, study)
    place = tempfile.TemporaryDirectory(prefix="spelling-transfer-")
    adapter, _ = runner.train_adapter(trial.model_validate(best_config["config"]), Path(place.name) / "adapter")
    # The folder lives as long as its handle: until the catalog has copied it.
    return ModelFolder(adapter.path, owner=place)


def plot(trials: pd.DataFrame, curves: pd.DataFrame, base: dict[str, Any]) -> tuple[Figure, Figure]:
    """Draws the learning curves of the trials, and spelling gain against position and count gain."""
    start = Evaluation(**base)
    return plot_learning_curves(curves, start), plot_transfer(trials, start)


def report(
    trials: pd.DataFrame,
    transfer_analysis: dict[str, Any],
    best_config: dict[str, Any],
    trial_seconds: pd.DataFrame,
    curves_plot: Figure,
    transfer_plot: Figure,
    study: StudySettings,
) -> str:
    """Writes the page of the study."""
    return render_tuning_page(
        trials, transfer_analysis, best_config, trial_seconds, curves=curves_plot, transfer=transfer_plot, study=study
    )


def _runner(
    base_model: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    english_subset: dict[str, Any],
    model_profile: ModelProfile,
    study: StudySettings,
) -> TrialRunner:
    return TrialRunner(
        base_model,
        model_profile,
        tokenizer,
        examples,
        encoded_examples,
        TokenSubset.from_json(english_subset).answer_ids,
        validation_words=study.validation_words,
        evaluate_every=study.transfer_eval_frequency,
    )
