"""Nodes of the evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from kedro_non_thinking import Policy
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
    floors,
    mark_answers,
    missing_arms,
    score_answers,
    tabulate,
)
from spelling_transfer.evaluation.base_model import base_model_notes
from spelling_transfer.evaluation.decodings import changed_answers
from spelling_transfer.evaluation.decodings import compare_decodings as compare_by_decoding
from spelling_transfer.evaluation.errors import describe_errors, error_shares, error_table, side_by_side
from spelling_transfer.evaluation.kept_answers import AnswerTable
from spelling_transfer.evaluation.marking import check_tasks, of_first_seed
from spelling_transfer.evaluation.strata import SPELLED
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import Sampling
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.pages import evaluation_figures as figures
from spelling_transfer.pages.decodings import decoding_sections
from spelling_transfer.pages.errors import error_sections
from spelling_transfer.pages.evaluation import EvaluationResults, render_evaluation_page
from spelling_transfer.pages.page import Section
from spelling_transfer.pages.probes import probe_sections
from spelling_transfer.pipelines.reports import take_figures
from spelling_transfer.study.config import StudySettings
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.tokenizer.subset import TokenSubset
from spelling_transfer.tracking import TrackingSettings, log_evaluation


def answer(
    *,
    base_model: ModelFolder,
    arm_adapters: ModelFolder,
    tokenizer: ChatTokenizer,
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    english_subset: dict[str, Any],
    kept_answers: AnswerTable,
    policy_rules: dict[str, Any],
    model_profile: ModelProfile,
    settings: EvaluationSettings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lets the base model and every arm answer the same questions, as far as the answers are not kept already."""
    check_tasks(examples.loc[examples["split"] == "test", "task"], load_tasks())  # before minutes of answering
    restricted = "english_subset" in settings.decodings
    draws = {"policy_sampling", "advised_sampling"} & set(settings.decodings)
    return answer_questions(
        examples,
        encoded_examples,
        settings,
        base_model=base_model,
        arm_adapters=arm_adapters,
        tokenizer=tokenizer,
        profile=model_profile,
        table=kept_answers,
        english_ids=TokenSubset.from_json(english_subset).answer_ids.tolist() if restricted else (),
        policy_sampling=Sampling(**Policy.model_validate(policy_rules).sampling.model_dump()) if draws else None,
    )


def compare_decodings(decoded_answers: pd.DataFrame, settings: EvaluationSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compares other ways of choosing tokens with the most likely ones, and lists the answers that they change."""
    marked = mark_answers(decoded_answers, load_tasks())
    return compare_by_decoding(marked, confidence=settings.confidence), changed_answers(marked)


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


def find_errors(
    marked_answers: pd.DataFrame, tokenizer: ChatTokenizer
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Says what is wrong with wrong answers, counts it, and puts the arms' answers beside one another."""
    described = describe_errors(marked_answers, tokenizer)
    return described, error_table(described), side_by_side(described)


def track_tables(
    scores: pd.DataFrame,
    comparison: pd.DataFrame,
    errors: pd.DataFrame,
    tracking: TrackingSettings,
    study: StudySettings,
    folder: Path,
) -> dict[str, Any]:
    """Sends scores, comparison and errors to Weights & Biases where somebody is signed in."""
    tables = {"scores": scores, "comparison": comparison, "errors": errors}
    run = log_evaluation(tables, tracking, study=study.name, folder=folder)
    return {"project": tracking.project, "run": run}


def compare_arms(
    marked_answers: pd.DataFrame, baselines: pd.DataFrame, settings: EvaluationSettings, study: StudySettings
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Compares the arms question by question, and answers the question of the study where that can be done."""
    held_out = marked_answers[marked_answers["endpoint"] != SPELLED]
    comparison, control = compare_all(
        of_first_seed(held_out),
        study.focus_name,
        study.weights,
        settings.bootstrap,
        seed_spread=settings.verdict.seed_spread,
    )
    guessed = floors(marked_answers, baselines)
    verdict = decide(arm_table(held_out), settings.verdict, confidence=settings.confidence)
    lacks = base_model_notes(marked_answers, guessed, settings.verdict, confidence=settings.confidence)
    return comparison, control, guessed, replace(verdict, notes=(*lacks, *verdict.notes)).document()


def describe_arms(
    arm_answers: pd.DataFrame,
    arm_curves: pd.DataFrame,
    base_validation_scores: dict[str, Any],
    settings: EvaluationSettings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Makes the tables behind the figures: arms side by side, and scores over training."""
    return arm_effects(arm_answers, settings), dose_curve(arm_curves, base_validation_scores)


# Kedro resolves the hints of a node, so a figure's type, which would import plotly, cannot stand here.
def plot(
    scores: pd.DataFrame, arm_effects: pd.DataFrame, dose_curve: pd.DataFrame, answer_errors: pd.DataFrame
) -> tuple[Any, Any, Any, Any, Any]:
    """Draws the scores, the arms side by side, their strata, their way there, and what they get wrong."""
    return (
        figures.plot_scores(of_first_seed(scores)),
        figures.plot_arms(arm_effects),
        figures.plot_strata(arm_effects),
        figures.plot_dose(dose_curve),
        figures.plot_errors(error_shares(answer_errors)),
    )


def report(
    *,
    probes: pd.DataFrame,
    probes_drawn: Any,
    decodings: pd.DataFrame,
    changed_answers: pd.DataFrame,
    answer_errors: pd.DataFrame,
    errors: pd.DataFrame,
    side_by_side: pd.DataFrame,
    tracked_tables: dict[str, Any],
    settings: EvaluationSettings,
    run_env: str,
    **inputs: Any,
) -> str:
    """Writes the page of the evaluation; the inputs that are not named here are those of ``EvaluationResults``."""
    drawn = take_figures(inputs)
    further = [
        *probe_sections(probes, probes_drawn, confidence=settings.confidence),
        *decoding_sections(decodings, changed_answers, confidence=settings.confidence),
        *error_sections(answer_errors, errors, side_by_side),
    ]
    if tracked_tables["run"]:
        text = f"Run {tracked_tables['run']} of project {tracked_tables['project']} has scores, comparison and errors."
        further.append(Section("On Weights & Biases", text=text))
    return render_evaluation_page(EvaluationResults(**inputs), drawn, settings, further, env=run_env)
