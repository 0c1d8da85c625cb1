"""Asks each arm the chosen questions: the prompts it was trained on, greedy answers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from spelling_transfer.evaluation.questions import control_questions, prompts_of, sample_test_examples
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import cpu_threads, generate_answers
from spelling_transfer.models.load import load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.progress import progress_bar
from spelling_transfer.tokenizer.chat import ChatTokenizer

_KEPT = [
    "example_id",
    "task",
    "template",
    "template_held_out",
    "word",
    "stem",
    "word_set",
    "difficulty",
    "question",
    "answer",
    "argument",
    "separator",
]


BASE, FINE_TUNED, CONTROL = "base", "fine-tuned", "control"
"""The arms: the model as it was, trained on spelling, and trained on the same prompts with other words' letters."""


def answer_questions(
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    settings: EvaluationSettings,
    *,
    base_model: ModelFolder,
    best_adapter: ModelFolder,
    control_adapter: ModelFolder,
    tokenizer: ChatTokenizer,
    profile: ModelProfile,
) -> pd.DataFrame:
    """Chooses the questions of an evaluation and lets the base, the fine-tuned and the control model answer them.

    The control arm is asked only the questions that claims are about; it is left out where it was not trained.

    Returns:
        The answers frame; see ``answer_examples``.
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
    with cpu_threads(settings.threads):
        frames = [
            answer_examples(
                questions,
                prompts_of(questions, encoded_examples),
                base_model=base_model,
                arms=adapters,
                tokenizer=tokenizer,
                profile=profile,
                max_new_tokens=settings.max_new_tokens,
                batch_size=settings.batch_size,
            )
            for questions, adapters in arms
        ]
    return pd.concat(frames, ignore_index=True)


def answer_examples(
    sample: pd.DataFrame,
    prompts: list[list[int]],
    *,
    base_model: ModelFolder,
    arms: Mapping[str, ModelFolder | None],
    tokenizer: ChatTokenizer,
    profile: ModelProfile | None = None,
    max_new_tokens: int,
    batch_size: int | None,
) -> pd.DataFrame:
    """Lets every arm answer the same questions, greedily.

    Args:
        sample: The examples asked.
        prompts: The prompt of each, token ids.
        base_model: The model all arms share.
        arms: The adapter of each arm by the arm's name; ``None`` is the base model itself.
        tokenizer: Decodes the answers.
        profile: How the model is loaded.
        max_new_tokens: Longest answer.
        batch_size: Questions answered side by side; `generate_answers` decides where it is not said.

    Returns:
        The answers frame: one row an arm and example, with what marking and grouping need of the example, ``n_tokens``
        (of the word after a space), ``output`` (the answer's text) and ``ended`` (whether it ended by itself).
    """
    asked = sample[_KEPT].reset_index(drop=True)
    asked["n_tokens"] = [len(ids) for ids in tokenizer.encode_texts([f" {word}" for word in asked["word"]])]
    frames = []
    for arm, adapter in arms.items():
        loaded = load_model(base_model, profile, adapter)
        with progress_bar(f"Answers of the {arm} model", total=len(prompts)) as advance:
            answers = generate_answers(
                loaded, tokenizer, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, progress=advance
            )
        frames.append(
            asked.assign(
                arm=arm,
                output=[tokenizer.decode(ids) for ids in answers],
                ended=[len(ids) < max_new_tokens for ids in answers],
            )
        )
        del loaded  # two large models do not fit on one device
    return pd.concat(frames, ignore_index=True)
