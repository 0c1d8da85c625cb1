"""Which validation questions each trial has right: what two trials are compared by, and what patterns are read from."""

from __future__ import annotations

import pandas as pd

from spelling_transfer.study.config import StudyConfigError
from spelling_transfer.study.executor import Evaluation
from spelling_transfer.tokenizer.chat import ChatTokenizer

_OF_QUESTION = ["example_id", "task", "stem", "word", "difficulty"]


def describe_questions(validation: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns one row a validation question, in their order: id, task, family, word, difficulty and ``n_tokens``.

    Args:
        validation: The questions every trial is scored on.
        tokenizer: Counts the tokens of the word after a space.
    """
    tokens = tokenizer.encode_texts([f" {word}" for word in validation["word"]])
    return validation[_OF_QUESTION].reset_index(drop=True).assign(n_tokens=[len(ids) for ids in tokens])


def read_marks(curves: pd.DataFrame, questions: pd.DataFrame, base: Evaluation) -> pd.DataFrame:
    """Returns the marks at the end of each trial.

    Args:
        curves: One row an evaluation, with ``number``, ``step`` and ``marks``.
        questions: What ``describe_questions`` returns.
        base: The evaluation of the base model.

    Returns:
        One row a trial and question: ``number``, the columns of ``questions``, ``base`` and ``exact`` (whether the base
        model and the trial have it right). A trial whose evaluations were kept without marks has no row.

    Raises:
        StudyConfigError: Marks and questions are not of the same study.
    """
    last = curves.sort_values(["number", "step"], kind="stable").drop_duplicates("number", keep="last")
    frames = []
    for number, marks in zip(last["number"], last["marks"], strict=True):
        if not marks:
            continue
        if not len(marks) == len(base.marks) == len(questions):
            raise StudyConfigError(
                f"trial {number}: it was marked on {len(marks)} validation questions, the base model on "
                f"{len(base.marks)}, and there are {len(questions)}. The study holds trials on other questions: give "
                "it another name (study.name)."
            )
        frames.append(
            questions.assign(number=number, base=_right(base.marks), exact=_right(marks))[
                ["number", *questions.columns, "base", "exact"]
            ]
        )
    if not frames:
        return questions.assign(number=0, base=False, exact=False).iloc[:0]
    return pd.concat(frames, ignore_index=True)


def _right(marks: str) -> list[bool]:
    return [mark == "1" for mark in marks]
