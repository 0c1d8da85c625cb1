"""Asks a model the chosen questions: the prompts it was trained on, greedy answers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from spelling_transfer.evaluation.sampling import EvaluationError
from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.models.generate import generate_answers
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


def prompts_of(sample: pd.DataFrame, encoded_examples: pd.DataFrame) -> list[list[int]]:
    """Returns the prompt of each example: its token ids before the label.

    Raises:
        EvaluationError: An example was never encoded.
    """
    encoded = encoded_examples.set_index("example_id")
    missing = sample.loc[~sample["example_id"].isin(encoded.index), "example_id"]
    if len(missing):
        raise EvaluationError(
            f"encoded_examples: {len(missing)} of {len(sample)} test examples are missing, {missing.iloc[0]!r} among "
            "them. It belongs to another run than examples: run 'kedro run --pipelines=local_prep' again."
        )
    rows = encoded.loc[sample["example_id"], ["input_ids", "label_start"]]
    return [
        [int(token) for token in ids[:start]] for ids, start in zip(rows["input_ids"], rows["label_start"], strict=True)
    ]


def answer_examples(
    sample: pd.DataFrame,
    prompts: list[list[int]],
    *,
    base_model: ModelFolder,
    arms: Mapping[str, ModelFolder | None],
    tokenizer: ChatTokenizer,
    profile: ModelProfile | None = None,
    max_new_tokens: int,
    batch_size: int,
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
        batch_size: Questions answered side by side.

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
