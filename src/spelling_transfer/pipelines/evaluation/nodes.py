"""Nodes of the evaluation."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.evaluation.answering import answer_examples, prompts_of
from spelling_transfer.evaluation.comparison import compare_arms as compare_pairs
from spelling_transfer.evaluation.comparison import comparison_row, pair_arms
from spelling_transfer.evaluation.figures import plot_differences, plot_groups, plot_scores
from spelling_transfer.evaluation.marking import mark_answers, score_answers
from spelling_transfer.evaluation.page import render_evaluation_page
from spelling_transfer.evaluation.sampling import MAIN_WORD_SET, sample_test_examples
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.study.config import StudySettings
from spelling_transfer.study.scores import SCORED_TASKS, compare_transfer_scores
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer

BASE, FINE_TUNED = "base", "fine-tuned"


def answer(
    *,
    base_model: ModelFolder,
    best_adapter: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    model_profile: ModelProfile,
    settings: EvaluationSettings,
) -> pd.DataFrame:
    """Lets the base and the fine-tuned model answer the same questions on held-out word families."""
    sample = sample_test_examples(
        examples,
        per_task=settings.examples_per_task,
        per_other_word_set=settings.examples_per_other_word_set,
        seed=settings.seed,
    )
    return answer_examples(
        sample,
        prompts_of(sample, encoded_examples),
        base_model=base_model,
        arms={BASE: None, FINE_TUNED: best_adapter},
        tokenizer=tokenizer,
        profile=model_profile,
        max_new_tokens=settings.max_new_tokens,
        batch_size=settings.batch_size,
    )


def mark(answers: pd.DataFrame, settings: EvaluationSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Marks each answer with its task's own marker and sums the marks up by arm, task and kind of question."""
    marked = mark_answers(answers, load_tasks())
    return marked, score_answers(marked, confidence=settings.confidence)


def compare_arms(marked_answers: pd.DataFrame, settings: EvaluationSettings, study: StudySettings) -> pd.DataFrame:
    """Compares the fine-tuned with the base model, question by question, with the transfer score of both."""
    pairs = pair_arms(marked_answers, BASE, FINE_TUNED)
    sure = {"confidence": settings.confidence, "n_resamples": settings.n_resamples, "seed": settings.seed}
    comparison = compare_pairs(pairs, BASE, FINE_TUNED, **sure)  # type: ignore[arg-type]
    by_task = {str(task): rows for task, rows in pairs[pairs["word_set"] == MAIN_WORD_SET].groupby("task")}
    if not set(SCORED_TASKS) <= set(by_task):
        return comparison
    scores = compare_transfer_scores(by_task, study.focus, **sure)  # type: ignore[arg-type]
    row = comparison_row(
        measure="transfer_score",
        task="all",
        group="focus",
        value=study.focus,
        reference=BASE,
        arm=FINE_TUNED,
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
    settings: EvaluationSettings,
) -> str:
    """Writes the page of the evaluation."""
    figures = dict(zip(("scores", "differences", "n_tokens"), plot(scores, comparison), strict=True))
    return render_evaluation_page(marked_answers, scores, comparison, figures, settings)
