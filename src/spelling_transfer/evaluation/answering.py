"""Asks each arm the chosen questions: the prompts it was trained on, greedy answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from spelling_transfer.evaluation.decodings import DECODED_ARMS, answers_by_decoding
from spelling_transfer.evaluation.kept_answers import GREEDY, AnswerTable, KeptAnswers, Respondent, Way
from spelling_transfer.evaluation.prompting import prompts_after_turns, questions_for
from spelling_transfer.evaluation.questions import (
    EvaluationError,
    core_questions,
    longest_answer,
    prompts_of,
    sample_test_examples,
)
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.evaluation.strata import HELD_OUT, NO_SEED, endpoint_of
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import Sampling, cpu_threads
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE
from spelling_transfer.progress import progress_bar
from spelling_transfer.tasks.arms import BASE, FORM_CONTROL, PROMPTED_ARMS, SPELLING_ARM
from spelling_transfer.tokenizer.chat import ChatTokenizer

_OF_THE_QUESTION = [
    *("example_id", "task", "template", "template_held_out", "word", "stem", "word_set", "difficulty"),
    *("question", "answer", "argument", "separator"),
]


FINE_TUNED, CONTROL = SPELLING_ARM, FORM_CONTROL
"""The treatment, and the arm that it is compared with."""


def answer_questions(
    examples: pd.DataFrame,
    encoded_examples: pd.DataFrame,
    settings: EvaluationSettings,
    *,
    base_model: ModelFolder,
    arm_adapters: ModelFolder,
    tokenizer: ChatTokenizer,
    profile: ModelProfile,
    table: AnswerTable | None = None,
    english_ids: Sequence[int] = (),
    policy_sampling: Sampling | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Chooses the questions of an evaluation and lets the base model and every arm answer them.

    The base model and the treatment are asked all tasks, the other arms those of the research question.

    Args:
        examples: All examples.
        encoded_examples: Their token ids.
        settings: Which questions, which prompted arms, which other decodings.
        base_model: The model all arms share.
        arm_adapters: The folder of adapters that ``study.arms`` leaves.
        tokenizer: The tokenizer.
        profile: How the model is loaded.
        table: Where answers are kept; what is there already is not asked.
        english_ids: Tokens that an answer may hold under the decoding ``english_subset``.
        policy_sampling: The values of the project's policy, for decodings that draw.

    Returns:
        The answers frame (see ``answer_examples``) with ``seed`` (-1 for what is not trained) and ``model`` (the base
        model's hash); and the answers under other decodings, see ``decodings.answers_by_decoding``.

    Raises:
        EvaluationError: The adapters belong to another base model, or it lacks tokens that a task asks with, or a right
            answer is longer than ``max_new_tokens``.
    """
    sample = sample_test_examples(
        examples,
        per_task=settings.examples_per_task,
        per_other_word_set=settings.examples_per_other_word_set,
        per_trained_words=settings.examples_per_trained_words,
        seed=settings.seed,
    )
    check_tokens(sample, encoded_examples, base_model, tokenizer)
    if (needed := longest_answer(sample, encoded_examples)) > settings.max_new_tokens:
        raise EvaluationError(
            f"evaluation.max_new_tokens: {settings.max_new_tokens} would cut off right answers, which then count as "
            f"wrong: the longest takes {needed} tokens, its end included. Set it to {needed} or more."
        )
    core = core_questions(sample)
    runs = adapters_of(arm_adapters, base_model)
    first_seeds = {arm: seed for arm, seed, _ in reversed(runs)} | {BASE: NO_SEED}
    limits: dict[str, Any] = {"tokenizer": tokenizer, "max_new_tokens": settings.max_new_tokens}
    frames, decoded = [], []
    with cpu_threads(settings.threads), KeptAnswers(table, ask_again=settings.ask_again) as kept:
        for arm, seed, adapter in [(BASE, NO_SEED, None), *runs]:
            asked = sample if arm in (BASE, SPELLING_ARM) else core
            # Two large models do not fit on one device: the last arm's is released before this one's is loaded.
            respondent = Respondent(
                base_model, adapter, profile, tokenizer, kept, batch_size=settings.batch_size
            )  # fmt: skip
            prompts = prompts_of(asked, encoded_examples)
            frames.append(answer_examples(asked, prompts, respondent=respondent, arm=arm, seed=seed, **limits))
            if arm in DECODED_ARMS and seed == first_seeds[arm]:
                asked = core[endpoint_of(core) == HELD_OUT]
                of_arm = answers_by_decoding(
                    asked, prompts_of(asked, encoded_examples), settings, english_ids, policy_sampling,
                    respondent=respondent, arm=arm, seed=seed, tokenizer=tokenizer,
                )  # fmt: skip
                decoded.append(of_arm)
            for prompted in settings.prompted if arm == BASE else ():
                asked = questions_for(prompted, core)
                prompts = prompts_after_turns(
                    prompted,
                    asked,
                    prompts_of(asked, encoded_examples),
                    examples,
                    respondent=respondent,
                    shots=settings.shots,
                    **limits,
                )
                frames.append(answer_examples(asked, prompts, respondent=respondent, arm=prompted, seed=seed, **limits))
    answers = pd.concat(frames, ignore_index=True).assign(model=base_model.sha256)
    return answers, pd.concat(decoded, ignore_index=True)


def check_tokens(
    questions: pd.DataFrame, encoded_examples: pd.DataFrame, base_model: ModelFolder, tokenizer: ChatTokenizer
) -> None:
    """Checks that a trimmed model has the tokens of all questions, before any is asked.

    Raises:
        EvaluationError: It has not; the message names the task and what it lacks.
    """
    file = base_model.path / TOKEN_IDS_FILE
    if not file.is_file():
        return
    known = set(json.loads(file.read_text(encoding="utf-8")))
    for task, asked in questions.groupby("task"):
        lacking = sorted({each for prompt in prompts_of(asked, encoded_examples) for each in prompt} - known)
        if lacking:
            shown = ", ".join(repr(tokenizer.decode([each])) for each in lacking[:5])
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            raise EvaluationError(
                f"{task}: its questions need tokens that the trimmed vocabulary of {base_model.path} does not have: "
                f"{shown}{more}. Word them otherwise and run 'kedro run --pipelines=local_prep' again, or evaluate a "
                "model with the full vocabulary."
            )


def adapters_of(arm_adapters: ModelFolder, base_model: ModelFolder) -> list[tuple[str, int, ModelFolder]]:
    """Returns arm, seed and adapter of each run in a folder of adapters.

    Raises:
        EvaluationError: The folder is none, holds no run, or belongs to another base model.
    """
    notes = arm_adapters.manifest()
    runs = notes.get("runs", [])
    if not runs:
        raise EvaluationError(
            f"{arm_adapters.path}: holds no adapter of an arm. Run 'kedro run --pipelines=tuning' first."
        )
    if notes["base_sha256"] != base_model.sha256:
        raise EvaluationError(
            f"{arm_adapters.path}: its arms were trained on another base model ({notes['base_sha256'][:12]}…) than "
            f"{base_model.path} ({base_model.sha256[:12]}…). Train them again with 'kedro run --pipelines=tuning'."
        )
    return [(run["arm"], int(run["seed"]), ModelFolder(arm_adapters.path / run["folder"])) for run in runs]


def missing_arms(arm_adapters: ModelFolder, settings: EvaluationSettings) -> dict[str, str]:
    """Returns why each arm that is known was not asked."""
    left_out = {arm: "not in evaluation.prompted" for arm in PROMPTED_ARMS if arm not in settings.prompted}
    return {**arm_adapters.manifest().get("missing", {}), **left_out}


def check_model(answers: pd.DataFrame, base_model: ModelFolder) -> None:
    """Checks that answers are those of a model.

    Raises:
        EvaluationError: They were given by another one.
    """
    others = sorted(set(answers["model"]) - {base_model.sha256})
    if others:
        raise EvaluationError(
            f"answers: they were given by another base model ({others[0][:12]}…) than {base_model.path} "
            f"({base_model.sha256[:12]}…). Answer again with 'kedro run --pipelines=evaluation'."
        )


def answer_examples(
    sample: pd.DataFrame,
    prompts: list[list[int]],
    *,
    respondent: Respondent,
    arm: str,
    seed: int,
    tokenizer: ChatTokenizer,
    max_new_tokens: int,
) -> pd.DataFrame:
    """Lets one arm answer questions, greedily.

    Args:
        sample: The examples asked.
        prompts: The prompt of each, token ids.
        respondent: The arm.
        arm: Its name.
        seed: The seed that it was trained with.
        tokenizer: Decodes the answers.
        max_new_tokens: Longest answer.

    Returns:
        The answers frame: one row an example, with what marking and grouping need of it, ``endpoint``, ``n_tokens`` (of
        the word after a space), ``output`` (the answer's text), ``ended`` (whether it ended by itself) and ``key``
        (what it is kept under).
    """
    notes = {"arm": arm, "seed": seed}
    with progress_bar(f"Answers of {arm}", total=len(prompts)) as advance:
        answers = respondent.answer(prompts, Way(GREEDY, max_new_tokens), notes=notes, progress=advance)
    words = tokenizer.encode_texts([f" {word}" for word in sample["word"]])
    return sample[_OF_THE_QUESTION].assign(
        endpoint=endpoint_of(sample),
        n_tokens=[len(ids) for ids in words],
        arm=arm,
        output=[tokenizer.decode(ids) for ids in answers["ids"]],
        ended=[len(ids) < max_new_tokens for ids in answers["ids"]],
        seed=seed,
        key=answers["key"].to_numpy(),
    )
