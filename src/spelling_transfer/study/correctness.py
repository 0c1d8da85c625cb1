"""Per-item correctness: which validation questions each trial has right, for comparisons and patterns."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import StudyResamples, resample_scores
from spelling_transfer.study.interfaces import Evaluation, StudyError
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


def read_correctness(curves: pd.DataFrame, questions: pd.DataFrame, base: Evaluation) -> pd.DataFrame:
    """Returns the correctness at the end of each trial.

    Returns:
        One row a trial and question: ``number``, the columns of ``questions``, ``base`` and ``exact`` (whether the base
        model and the trial have it right). A trial whose evaluations were kept without it has no row.

    Raises:
        StudyError: The trials answered other questions.
    """
    last = curves.sort_values(["number", "step"], kind="stable").drop_duplicates("number", keep="last")
    frames = [
        correctness_of(number, correct, questions, base.correct)
        for number, correct in zip(last["number"], last["correct"], strict=True)
        if correct
    ]
    if not frames:
        return correctness_of(0, [False] * len(questions), questions, [False] * len(questions)).iloc[:0]
    return pd.concat(frames, ignore_index=True)


def correctness_of(number: int, correct: Sequence[bool], questions: pd.DataFrame, base: Sequence[bool]) -> pd.DataFrame:
    """Returns the correctness of one trial, as ``read_correctness`` does for all of them.

    Raises:
        StudyError: The trial or the base model answered other questions.
    """
    if not len(correct) == len(base) == len(questions):
        raise StudyError(
            f"trial {number}: it answered {len(correct)} validation questions, the base model {len(base)}, and there "
            f"are {len(questions)}. The study holds trials on other questions: give it another name (study.name)."
        )
    columns = ["number", *questions.columns, "base", "exact"]
    return questions.assign(number=number, base=list(base), exact=list(correct))[columns]


def base_correctness(correctness: pd.DataFrame, questions: pd.DataFrame) -> list[bool]:
    """Returns which questions the base model has right, from the correctness of a study's trials.

    Raises:
        StudyError: The trials answered other questions; what is not known of the base model is not wrong.
    """
    first = correctness.drop_duplicates("example_id").set_index("example_id")["base"]
    if n_missing := int((~questions["example_id"].isin(first.index)).sum()):
        raise StudyError(
            f"trial_marks: of {n_missing} of {len(questions)} validation questions it is not kept whether the base "
            "model has them right. The trials are of another run: run 'kedro run --pipelines=tuning' again."
        )
    return [bool(right) for right in first[questions["example_id"]]]


def resample_correctness(correctness: pd.DataFrame, bootstrap: Bootstrap) -> StudyResamples:
    """Resamples the word families of the validation questions, the same families for base model and all trials.

    Args:
        correctness: What ``read_correctness`` returns.
        bootstrap: How families are resampled.
    """
    questions = correctness.drop_duplicates("example_id").set_index("example_id")
    exact = correctness.pivot_table(index="number", columns="example_id", values="exact", aggfunc="sum")
    return resample_scores(
        [int(number) for number in exact.index],
        exact.reindex(columns=questions.index).fillna(0),
        questions["base"],
        questions["task"],
        questions["stem"],
        bootstrap,
    )
