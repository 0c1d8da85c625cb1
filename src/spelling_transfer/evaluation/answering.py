"""Asks each arm the chosen questions: the prompts it was trained on, greedy answers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.evaluation.prompting import prompts_after_turns, questions_for
from spelling_transfer.evaluation.questions import EvaluationError, core_questions, prompts_of, sample_test_examples
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.evaluation.strata import NO_SEED, endpoint_of
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import cpu_threads, generate_answers
from spelling_transfer.models.load import LoadedModel, load_model
from spelling_transfer.models.profile import ModelProfile
from spelling_transfer.progress import progress_bar
from spelling_transfer.tasks.arms import BASE, FORM_CONTROL, PROMPTED_ARMS, SPELLING_ARM
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
) -> pd.DataFrame:
    """Chooses the questions of an evaluation and lets the base model and every arm answer them.

    The base model and the treatment are asked all tasks, the other arms those of the research question.

    Args:
        examples: All examples.
        encoded_examples: Their token ids.
        settings: Which questions, and which prompted arms.
        base_model: The model all arms share.
        arm_adapters: The folder of adapters that ``study.arms`` leaves.
        tokenizer: The tokenizer.
        profile: How the model is loaded.

    Returns:
        The answers frame (see ``answer_examples``) with ``seed`` (-1 for what is not trained) and ``model`` (the base
        model's hash).

    Raises:
        EvaluationError: The adapters belong to another base model.
    """
    sample = sample_test_examples(
        examples,
        per_task=settings.examples_per_task,
        per_other_word_set=settings.examples_per_other_word_set,
        per_trained_words=settings.examples_per_trained_words,
        seed=settings.seed,
    )
    core = core_questions(sample)
    runs = adapters_of(arm_adapters, base_model)
    limits: dict[str, Any] = {"max_new_tokens": settings.max_new_tokens, "batch_size": settings.batch_size}
    frames = []
    with cpu_threads(settings.threads):
        for arm, seed, adapter in [(BASE, NO_SEED, None), *runs]:
            asked = sample if arm in (BASE, SPELLING_ARM) else core
            loaded = load_model(base_model, profile, adapter)
            prompts = prompts_of(asked, encoded_examples)
            answered = answer_examples(asked, prompts, loaded=loaded, arm=arm, tokenizer=tokenizer, **limits)
            frames.append(answered.assign(seed=seed))
            for prompted in settings.prompted if arm == BASE else ():
                asked = questions_for(prompted, core)
                prompts = prompts_after_turns(
                    prompted,
                    asked,
                    prompts_of(asked, encoded_examples),
                    examples,
                    loaded=loaded,
                    tokenizer=tokenizer,
                    shots=settings.shots,
                    max_new_tokens=settings.max_new_tokens,
                )
                answered = answer_examples(asked, prompts, loaded=loaded, arm=prompted, tokenizer=tokenizer, **limits)
                frames.append(answered.assign(seed=NO_SEED))
            del loaded  # two large models do not fit on one device
    return pd.concat(frames, ignore_index=True).assign(model=base_model.sha256)


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
    loaded: LoadedModel,
    arm: str,
    tokenizer: ChatTokenizer,
    max_new_tokens: int,
    batch_size: int | None,
) -> pd.DataFrame:
    """Lets one arm answer questions, greedily.

    Args:
        sample: The examples asked.
        prompts: The prompt of each, token ids.
        loaded: The model, with the arm's adapter if it has one.
        arm: Its name.
        tokenizer: Decodes the answers.
        max_new_tokens: Longest answer.
        batch_size: Questions answered side by side; `generate_answers` decides where it is not said.

    Returns:
        The answers frame: one row an example, with what marking and grouping need of it, ``endpoint``, ``n_tokens`` (of
        the word after a space), ``output`` (the answer's text) and ``ended`` (whether it ended by itself).
    """
    with progress_bar(f"Answers of {arm}", total=len(prompts)) as advance:
        answers = generate_answers(
            loaded, tokenizer, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, progress=advance
        )
    words = tokenizer.encode_texts([f" {word}" for word in sample["word"]])
    return sample[_KEPT].assign(
        endpoint=endpoint_of(sample),
        n_tokens=[len(ids) for ids in words],
        arm=arm,
        output=[tokenizer.decode(ids) for ids in answers],
        ended=[len(ids) < max_new_tokens for ids in answers],
    )
