"""Nodes of the evaluation."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.evaluation import (
    EvaluationSettings,
    answer_questions,
    arm_effects,
    arm_table,
    check_model,
    compare_all,
    decide,
    dose_curve,
    empty_strata,
    error_kinds,
    floors,
    layer_probes,
    mark_answers,
    missing_arms,
    score_answers,
    tabulate,
)
from spelling_transfer.evaluation.strata import SPELLED
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.pages import evaluation_figures as figures
from spelling_transfer.pages import probes as probe_page
from spelling_transfer.pages.evaluation import EvaluationResults, render_evaluation_page
from spelling_transfer.study.config import StudySettings
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer


def answer(
    *,
    base_model: ModelFolder,
    arm_adapters: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    model_profile: ModelProfile,
    settings: EvaluationSettings,
) -> pd.DataFrame:
    """Lets the base model and every arm answer the same questions."""
    return answer_questions(
        examples,
        encoded_examples,
        settings,
        base_model=base_model,
        arm_adapters=arm_adapters,
        tokenizer=tokenizer,
        profile=model_profile,
    )


def probe_layers(
    *,
    base_model: ModelFolder,
    arm_adapters: ModelFolder,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    answers: pd.DataFrame,
    model_profile: ModelProfile,
    settings: EvaluationSettings,
) -> pd.DataFrame:
    """Reads the right answers from each layer of every arm, where ``evaluation.layer_probes`` asks for it."""
    return layer_probes.probe_layers(
        examples,
        encoded_examples,
        answers,
        settings,
        base_model=base_model,
        arm_adapters=arm_adapters,
        profile=model_profile,
    )


def mark(
    answers: pd.DataFrame,
    words: pd.DataFrame,
    tokenizer: ChatTokenizer,
    base_model: ModelFolder,
    arm_adapters: ModelFolder,
    settings: EvaluationSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Marks each answer with its task's own marker, scores them, and makes the table that comparisons read."""
    check_model(answers, base_model)
    marked = mark_answers(answers, load_tasks())
    table = tabulate(marked, words, tokenizer)
    left_out = {"arms": missing_arms(arm_adapters, settings), "strata": empty_strata(table)}
    return marked, score_answers(marked, confidence=settings.confidence), table, left_out


def of_one_seed(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the first seed of each arm: what is said of one training run rests on one."""
    return frame[frame["seed"] == frame.groupby("arm")["seed"].transform("min")]


def compare_arms(
    marked_answers: pd.DataFrame, settings: EvaluationSettings, study: StudySettings
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Compares the arms question by question, and answers the question of the study where that can be done."""
    held_out = marked_answers[marked_answers["endpoint"] != SPELLED]
    comparison, control = compare_all(
        of_one_seed(held_out), study.focus, study.weights, settings.bootstrap, seed_spread=settings.verdict.seed_spread
    )
    verdict = decide(arm_table(held_out), settings.verdict, confidence=settings.confidence)
    return comparison, control, verdict.document()


def describe_arms(
    arm_answers: pd.DataFrame,
    marked_answers: pd.DataFrame,
    baselines: pd.DataFrame,
    arm_curves: pd.DataFrame,
    base_validation_scores: dict[str, Any],
    settings: EvaluationSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Makes the tables behind the figures: arms side by side, scores over training, kinds of error, floors."""
    return (
        arm_effects(arm_answers, settings),
        dose_curve(arm_curves, base_validation_scores),
        error_kinds(marked_answers),
        floors(marked_answers, baselines),
    )


# Kedro resolves the hints of a node, so a figure's type, which would import plotly, cannot stand here.
def plot(
    scores: pd.DataFrame, arm_effects: pd.DataFrame, dose_curve: pd.DataFrame, arm_errors: pd.DataFrame
) -> tuple[Any, Any, Any, Any, Any]:
    """Draws the scores, the arms side by side, their strata, their way there, and what they get wrong."""
    return (
        figures.plot_scores(of_one_seed(scores)),
        figures.plot_arms(arm_effects),
        figures.plot_strata(arm_effects),
        figures.plot_dose(dose_curve),
        figures.plot_errors(arm_errors),
    )


def plot_probes(layer_probes: pd.DataFrame) -> Any:
    """Draws what the layers of each arm know, beside what it answers."""
    return probe_page.plot_probes(layer_probes)


def report(
    *,
    marked: pd.DataFrame,
    scores: pd.DataFrame,
    comparison: pd.DataFrame,
    control: pd.DataFrame,
    verdict: dict[str, Any],
    effects: pd.DataFrame,
    floors: pd.DataFrame,
    left_out: dict[str, Any],
    probes: pd.DataFrame,
    settings: EvaluationSettings,
    **plots: Any,
) -> str:
    """Writes the page of the evaluation."""
    return render_evaluation_page(
        EvaluationResults(marked, scores, comparison, control, verdict, effects, floors, left_out),
        {name.removesuffix("_figure"): figure for name, figure in plots.items()},
        settings,
        probe_page.probe_sections(probes),
    )
