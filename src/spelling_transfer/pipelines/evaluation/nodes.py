"""Nodes of the evaluation."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.evaluation.answering import answer_examples, prompts_of
from spelling_transfer.evaluation.comparison import compare_arms as compare_pairs
from spelling_transfer.evaluation.comparison import comparison_row, pair_arms
from spelling_transfer.evaluation.control import compare_with_control, control_questions, pair_with_control
from spelling_transfer.evaluation.marking import mark_answers, score_answers
from spelling_transfer.evaluation.sampling import MAIN_WORD_SET, sample_test_examples
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.pages.evaluation import render_evaluation_page
from spelling_transfer.pages.evaluation_figures import plot_differences, plot_groups, plot_scores
from spelling_transfer.statistics.scores import SCORED_TASKS, compare_transfer_scores
from spelling_transfer.study.config import StudySettings
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer

BASE, FINE_TUNED, CONTROL = "base", "fine-tuned", "control"


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
    """Lets the base, the fine-tuned and the control model answer the same questions on held-out word families.

    The control arm is asked only the questions that claims are about; it is left out where it was not trained.
    """
    sample = sample_test_examples(
        examples,
        per_task=settings.examples_per_task,
        per_other_word_set=settings.examples_per_other_word_set,
        seed=settings.seed,
    )
    arms: list[tuple[pd.DataFrame, dict[str, ModelFolder | None]]] = [(sample, {BASE: None, FINE_TUNED: best_adapter})]
    if not control_adapter.is_absent:
        arms.append((control_questions(sample), {CONTROL: control_adapter}))
    frames = [
        answer_examples(
            questions,
            prompts_of(questions, encoded_examples),
            base_model=base_model,
            arms=adapters,
            tokenizer=tokenizer,
            profile=model_profile,
            max_new_tokens=settings.max_new_tokens,
            batch_size=settings.batch_size,
        )
        for questions, adapters in arms
    ]
    return pd.concat(frames, ignore_index=True)


def mark(answers: pd.DataFrame, settings: EvaluationSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Marks each answer with its task's own marker and sums the marks up by arm, task and kind of question."""
    marked = mark_answers(answers, load_tasks())
    return marked, score_answers(marked, confidence=settings.confidence)


def compare_arms(
    marked_answers: pd.DataFrame, settings: EvaluationSettings, study: StudySettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compares the fine-tuned with the base model and with the control arm, question by question.

    Returns:
        The comparison with the base model and the one with the control arm, each with the transfer score; the second
        has no rows where there is no control arm.
    """
    sure: dict[str, Any] = {
        "confidence": settings.confidence,
        "n_resamples": settings.n_resamples,
        "seed": settings.seed,
    }
    pairs = pair_arms(marked_answers[marked_answers["arm"] != CONTROL], BASE, FINE_TUNED)
    comparison = _with_score(compare_pairs(pairs, BASE, FINE_TUNED, **sure), pairs, study, sure)
    if not (marked_answers["arm"] == CONTROL).any():
        return comparison, comparison.iloc[:0]
    pairs = pair_with_control(marked_answers, CONTROL, FINE_TUNED)
    return comparison, _with_score(compare_with_control(pairs, CONTROL, FINE_TUNED, **sure), pairs, study, sure)


def _with_score(
    comparison: pd.DataFrame, pairs: pd.DataFrame, study: StudySettings, sure: dict[str, Any]
) -> pd.DataFrame:
    by_task = {str(task): rows for task, rows in pairs[pairs["word_set"] == MAIN_WORD_SET].groupby("task")}
    if not set(SCORED_TASKS) <= set(by_task):
        return comparison
    scores = compare_transfer_scores(by_task, study.weights, **sure)
    row = comparison_row(
        measure="transfer_score",
        task="all",
        group="focus",
        value=study.focus,
        reference=comparison["reference"].iloc[0],
        arm=comparison["arm"].iloc[0],
        n=sum(len(by_task[task]) for task in SCORED_TASKS),
        families=scores.families,
        reference_score=scores.reference,
        reference_interval=scores.reference_interval,
        arm_score=scores.arm,
        arm_interval=scores.arm_interval,
        difference=scores.difference,
        interval=scores.interval,
    )
    return pd.concat([comparison, pd.DataFrame([row])], ignore_index=True)


# Kedro resolves the hints of a node, so a figure's type, which would import plotly, cannot stand here.
def plot(scores: pd.DataFrame, comparison: pd.DataFrame) -> tuple[Any, Any, Any]:
    """Draws the scores of both arms, the paired differences, and the scores by tokens of the word."""
    return plot_scores(scores), plot_differences(comparison), plot_groups(scores, "n_tokens", "tokens of the word")


def report(
    marked_answers: pd.DataFrame,
    scores: pd.DataFrame,
    comparison: pd.DataFrame,
    control_comparison: pd.DataFrame,
    settings: EvaluationSettings,
) -> str:
    """Writes the page of the evaluation."""
    figures = dict(zip(("scores", "differences", "n_tokens"), plot(scores, comparison), strict=True))
    return render_evaluation_page(marked_answers, scores, comparison, control_comparison, figures, settings)
