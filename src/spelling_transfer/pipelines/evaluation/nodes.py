"""Nodes of the evaluation."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.evaluation import (
    EvaluationSettings,
    answer_questions,
    arm_table,
    compare_all,
    decide,
    mark_answers,
    score_answers,
)
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.pages.evaluation import plot_differences, plot_groups, plot_scores, render_evaluation_page
from spelling_transfer.study.config import StudySettings
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer


def answer(
    *,
    base_model: ModelFolder,
    best_adapter: ModelFolder,
    control_adapter: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    model_profile: ModelProfile,
    settings: EvaluationSettings,
) -> pd.DataFrame:
    """Lets the base, the fine-tuned and the control model answer the same questions on held-out word families."""
    return answer_questions(
        examples,
        encoded_examples,
        settings,
        base_model=base_model,
        best_adapter=best_adapter,
        control_adapter=control_adapter,
        tokenizer=tokenizer,
        profile=model_profile,
    )


def mark(answers: pd.DataFrame, settings: EvaluationSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Marks each answer with its task's own marker and scores them by arm, task and kind of question."""
    marked = mark_answers(answers, load_tasks())
    return marked, score_answers(marked, confidence=settings.confidence)


def compare_arms(
    marked_answers: pd.DataFrame, settings: EvaluationSettings, study: StudySettings
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Compares the arms question by question, and answers the question of the study where that can be done."""
    comparison, control = compare_all(
        marked_answers, study.focus, study.weights, settings.bootstrap, seed_spread=settings.verdict.seed_spread
    )
    verdict = decide(arm_table(marked_answers), settings.verdict, confidence=settings.confidence)
    return comparison, control, verdict.document()


# Kedro resolves the hints of a node, so a figure's type, which would import plotly, cannot stand here.
def plot(scores: pd.DataFrame, comparison: pd.DataFrame) -> tuple[Any, Any, Any]:
    """Draws the scores of both arms, the paired differences, and the scores by tokens of the word."""
    return plot_scores(scores), plot_differences(comparison), plot_groups(scores, "n_tokens", "tokens of the word")


def report(
    marked_answers: pd.DataFrame,
    scores: pd.DataFrame,
    comparison: pd.DataFrame,
    control_comparison: pd.DataFrame,
    verdict: dict[str, Any],
    settings: EvaluationSettings,
) -> str:
    """Writes the page of the evaluation."""
    figures = dict(zip(("scores", "differences", "n_tokens"), plot(scores, comparison), strict=True))
    return render_evaluation_page(marked_answers, scores, comparison, control_comparison, verdict, figures, settings)
