"""Which questions are asked: one a word family, the same ones on every machine, with the prompts of training."""

from __future__ import annotations

import hashlib

import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.mixture import ASKED, REAL
from spelling_transfer.tasks.registry import CORE_TASKS

MAIN_WORD_SET = "word"
"""The word set that claims are about; the others are reported on their own."""


class EvaluationError(SpellingTransferError):
    """There is nothing to evaluate, or what is there does not fit together."""


def sample_examples(
    examples: pd.DataFrame,
    *,
    split: str,
    per_task: int,
    seed: int = 0,
    word_set: str = MAIN_WORD_SET,
    kind: str = REAL,
) -> pd.DataFrame:
    """Chooses examples of each task from one split, at most one a word family, from the same families in one order.

    A task that has no question about a family (count has few) takes a later one instead.

    The order of families and of their examples is that of salted hashes: it depends on the seed and on nothing else,
    so a smaller sample is a part of a larger one, and more words elsewhere do not change it.

    Args:
        examples: The examples frame.
        split: Which split to take.
        per_task: Examples of each task at most; fewer where there are fewer families.
        seed: Salt of the hashes.
        word_set: Which word set to take.
        kind: Which kind of rows: ``real``, or ``asked`` for questions about trained words.

    Returns:
        The chosen rows, by task in order of first appearance, families in the order of their hashes.
    """
    rows = examples[(examples["split"] == split) & (examples["kind"] == kind) & (examples["word_set"] == word_set)]
    rows = rows.assign(
        _family=[_hash(seed, stem) for stem in rows["stem"]],
        _example=[_hash(seed, example_id) for example_id in rows["example_id"]],
    ).sort_values(["_family", "_example"], kind="stable")
    rows = rows.drop_duplicates(["task", "stem"])
    chosen = [part.head(per_task) for _, part in rows.groupby("task", sort=False)]
    sample = pd.concat(chosen) if chosen else rows
    order = {task: place for place, task in enumerate(examples["task"].unique())}
    sample = sample.sort_values("task", key=lambda tasks: tasks.map(order), kind="stable")
    return sample.drop(columns=["_family", "_example"]).reset_index(drop=True)


def sample_test_examples(
    examples: pd.DataFrame, *, per_task: int, per_other_word_set: int, per_trained_words: int = 0, seed: int = 0
) -> pd.DataFrame:
    """Chooses the examples of an evaluation: held-out families, other word sets, words whose spelling is trained.

    Raises:
        EvaluationError: No held-out family has an example.
    """
    main = sample_examples(examples, split="test", per_task=per_task, seed=seed)
    if main.empty:
        raise EvaluationError(
            "examples: no row has split 'test', kind 'real' and word_set 'word', so there is nothing to evaluate. "
            "Run 'kedro run --pipelines=local_prep' with a longer word list."
        )
    others = [
        sample_examples(examples, split="test", per_task=per_other_word_set, seed=seed, word_set=word_set)
        for word_set in sorted(set(examples["word_set"]) - {MAIN_WORD_SET})
        if per_other_word_set
    ]
    if per_trained_words:
        others.append(sample_examples(examples, split="train", per_task=per_trained_words, seed=seed, kind=ASKED))
    return pd.concat([main, *others], ignore_index=True)


def core_questions(sample: pd.DataFrame) -> pd.DataFrame:
    """Returns the questions that every arm is asked: those of the tasks that claims are about."""
    return sample[sample["task"].isin(CORE_TASKS)].reset_index(drop=True)


def _check_encoded(sample: pd.DataFrame, encoded_examples: pd.DataFrame) -> None:
    missing = sample.loc[~sample["example_id"].isin(encoded_examples["example_id"]), "example_id"]
    if len(missing):
        raise EvaluationError(
            f"encoded_examples: {len(missing)} of {len(sample)} test examples are missing, {missing.iloc[0]!r} among "
            "them. It belongs to another run than examples: run 'kedro run --pipelines=local_prep' again."
        )


def prompts_of(sample: pd.DataFrame, encoded_examples: pd.DataFrame) -> list[list[int]]:
    """Returns the prompt of each example: its token ids before the label.

    Raises:
        EvaluationError: An example was never encoded.
    """
    _check_encoded(sample, encoded_examples)
    rows = encoded_examples.set_index("example_id").loc[sample["example_id"], ["input_ids", "label_start"]]
    return [
        [int(token) for token in ids[:start]] for ids, start in zip(rows["input_ids"], rows["label_start"], strict=True)
    ]


def longest_answer(sample: pd.DataFrame, encoded_examples: pd.DataFrame) -> int:
    """Returns how many tokens the longest right answer to the examples has, its end included.

    Raises:
        EvaluationError: An example was never encoded.
    """
    _check_encoded(sample, encoded_examples)
    encoded = encoded_examples[encoded_examples["example_id"].isin(sample["example_id"])]
    return int((encoded["input_ids"].map(len) - encoded["label_start"]).max())


def _hash(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"{seed}/{text}".encode()).digest()[:8]
