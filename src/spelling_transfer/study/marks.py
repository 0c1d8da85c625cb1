"""Which validation questions each trial has right: what two trials are compared by, and what patterns are read from."""

from __future__ import annotations

import pandas as pd

from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import StudyResamples, resample_scores
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
    frames = [
        marks_of(number, marks, questions, base.marks)
        for number, marks in zip(last["number"], last["marks"], strict=True)
        if marks
    ]
    if not frames:
        return marks_of(0, "0" * len(questions), questions, "0" * len(questions)).iloc[:0]
    return pd.concat(frames, ignore_index=True)


def marks_of(number: int, marks: str, questions: pd.DataFrame, base_marks: str) -> pd.DataFrame:
    """Returns the marks of one trial, as ``read_marks`` does for all of them.

    Raises:
        StudyConfigError: Marks and questions are not of the same study.
    """
    if not len(marks) == len(base_marks) == len(questions):
        raise StudyConfigError(
            f"trial {number}: it was marked on {len(marks)} validation questions, the base model on "
            f"{len(base_marks)}, and there are {len(questions)}. The study holds trials on other questions: give it "
            "another name (study.name)."
        )
    columns = ["number", *questions.columns, "base", "exact"]
    return questions.assign(number=number, base=_right(base_marks), exact=_right(marks))[columns]


def base_marks(marks: pd.DataFrame, questions: pd.DataFrame) -> str:
    """Returns the base model's marks on the questions, from the marks of a study's trials."""
    right = marks.drop_duplicates("example_id").set_index("example_id")["base"].reindex(questions["example_id"])
    return "".join("1" if mark is True or mark == 1 else "0" for mark in right)


def resample_marks(marks: pd.DataFrame, bootstrap: Bootstrap) -> StudyResamples:
    """Resamples the word families of the validation questions, the same families for base model and all trials.

    Args:
        marks: What ``read_marks`` returns.
        bootstrap: How families are resampled.
    """
    questions = marks.drop_duplicates("example_id").set_index("example_id")
    exact = marks.pivot_table(index="number", columns="example_id", values="exact", aggfunc="sum")
    return resample_scores(
        [int(number) for number in exact.index],
        exact.reindex(columns=questions.index).fillna(0),
        questions["base"],
        questions["task"],
        questions["stem"],
        bootstrap,
    )


def _right(marks: str) -> list[bool]:
    return [mark == "1" for mark in marks]
