"""Nodes of local preparation."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.scorers import MlxScorer, TorchScorer
from spelling_transfer.pipelines.local_prep.manifest import count_examples, make_manifest
from spelling_transfer.storage import seal
from spelling_transfer.tasks.balance import check_baselines, compute_baselines
from spelling_transfer.tasks.encoding import encode_examples
from spelling_transfer.tasks.examples import ExampleMix, spelling_questions, write_examples
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.difficulty import (
    DifficultySettings,
    model_scores,
    rate_difficulty,
    structural_score,
)
from spelling_transfer.words.word_list import WordListFile, WordSelection, select_words
from spelling_transfer.words.word_sets import describe_splits, describe_words, split_words


def select(
    word_list: WordListFile, tokenizer: ChatTokenizer, word_selection: WordSelection
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Chooses the words and describes each; lists what was dropped and why."""
    words, dropped = select_words(word_selection, word_list)
    return describe_words(words, tokenizer), {"list": word_list.name, "kept": len(words), "dropped": dropped.as_dict()}


def split_by_family(
    selected_words: pd.DataFrame, tokenizer: ChatTokenizer, word_selection: WordSelection
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Puts each word family into one split, adds random strings, and checks that no inflection crosses splits."""
    words = split_words(selected_words, tokenizer, word_selection)
    return words, describe_splits(words)


def rate(
    split_words: pd.DataFrame,
    tokenizer: ChatTokenizer,
    scoring_model: ModelFolder,
    difficulty: DifficultySettings,
    model_profile: ModelProfile,
) -> pd.DataFrame:
    """Rates each word easy, medium or hard, by its structure or by the model's loss on its spelling."""
    if difficulty.method == "structure":
        return rate_difficulty(split_words, structural_score(split_words))
    scorer = (MlxScorer if difficulty.backend == "mlx" else TorchScorer)(scoring_model, model_profile)
    questions = spelling_questions(split_words)
    return rate_difficulty(split_words, model_scores(questions, tokenizer, scorer, batch_size=difficulty.batch_size))


def write(words: pd.DataFrame, tokenizer: ChatTokenizer, example_mix: ExampleMix) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes the examples of every registered task, and what answers without the word would score on them."""
    examples = write_examples(words, tokenizer, example_mix, load_tasks())
    baselines = compute_baselines(examples, words, tokenizer)
    check_baselines(baselines)
    return examples, baselines


def encode(examples: pd.DataFrame, tokenizer: ChatTokenizer) -> tuple[pd.DataFrame, dict[str, int]]:
    """Turns examples into token ids with their label span, and counts them."""
    return encode_examples(examples, tokenizer), count_examples(examples)


def describe(
    prep_files: dict[str, dict[str, Any]],
    example_counts: dict[str, int],
    split_report: dict[str, Any],
    dropped_words: dict[str, Any],
    tokenizer: ChatTokenizer,
    word_selection: WordSelection,
    difficulty: DifficultySettings,
    example_mix: ExampleMix,
) -> dict[str, Any]:
    """Writes down what was made, from what, and how; 'kedro bundle verify' compares the files with it."""
    counts = {
        "words_kept": dropped_words["kept"],
        "words_dropped": {reason: entry["count"] for reason, entry in dropped_words["dropped"].items()},
        "words": split_report["words"],
        "examples": example_counts,
    }
    parameters = {"word_selection": word_selection, "difficulty": difficulty, "example_mix": example_mix}
    return seal(make_manifest(prep_files, "..", tokenizer, parameters, counts))
