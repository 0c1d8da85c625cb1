"""The table that a verdict rests on: one row a question, arm and training seed, and what must hold of it.

The arms of the experiment by name: ``base``, ``spelling`` (the treatment), ``control`` (the form of the answers alone),
``direct position`` and ``direct count`` (trained on the task itself: what can be gained at all).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spelling_transfer.evaluation.questions import MAIN_WORD_SET, EvaluationError
from spelling_transfer.tasks.arms import BASE, FORM_CONTROL
from spelling_transfer.tasks.registry import TRAINED_TASK, UNTRAINED_TASKS

SPELLING, CONTROL = "spelling", "control"
DIRECT: Mapping[str, str] = {task: f"direct {task}" for task in UNTRAINED_TASKS}
"""The arm that was trained on a task itself, by task."""
ARMS = (BASE, SPELLING, CONTROL, *DIRECT.values())
_NAMES = {
    FORM_CONTROL: CONTROL,
    **{f"direct_{task}": arm for task, arm in DIRECT.items()},
}
"""What some of these arms are called in answer files and settings."""
COLUMNS = ("question", "family", "task", "arm", "seed", "correct")
STRATA = ("template_held_out", "difficulty", "n_tokens")
"""Properties of a question that answers are looked at by, where the answers have them."""

_AGAIN = "Answer again with 'kedro run --pipelines=evaluation'."


@dataclass(frozen=True)
class TaskAnswers:
    """All arms' answers to the questions of one task.

    Attributes:
        families: The word family of each question by its number, the same in all tasks, shape (questions,).
        arms: Which questions each arm has right, shape (seeds, questions).
    """

    families: NDArray[np.int_]
    arms: Mapping[str, NDArray[np.bool_]]

    def only(self, rows: NDArray[np.bool_]) -> TaskAnswers:
        """Returns the answers to a part of the questions."""
        return TaskAnswers(self.families[rows], {arm: right[:, rows] for arm, right in self.arms.items()})


def arm_table(marked: pd.DataFrame) -> pd.DataFrame:
    """Returns the table of a verdict from marked answers on real words; other word sets carry no claim.

    Args:
        marked: What ``mark_answers`` returns; with a column ``seed`` where an arm was trained with several. Arms may
            also be called ``form_control``, ``direct_position``, ``direct_count``; no verdict rests on others, which
            are left out.
    """
    words = marked[(marked["word_set"] == MAIN_WORD_SET) & marked["arm"].replace(_NAMES).isin(ARMS)]
    kept = [name for name in (*STRATA, "model") if name in words.columns]
    return pd.DataFrame(
        {
            "question": words["example_id"],
            "family": words["stem"],
            "task": words["task"],
            "arm": words["arm"].replace(_NAMES),
            "seed": words["seed"] if "seed" in words.columns else 0,
            "correct": words["exact"].astype(bool),
            **{name: words[name] for name in kept},
        }
    ).reset_index(drop=True)


def answers_by_task(table: pd.DataFrame) -> dict[str, TaskAnswers]:
    """Returns the answers of each task as arrays, questions in one order for all arms and seeds.

    Raises:
        EvaluationError: A column is missing, an answer is there twice, answers are of several models, arms or seeds did
            not answer the same questions, or the base model's answers differ between seeds.
    """
    _check(table)
    table = table.assign(family=pd.factorize(table["family"], sort=True)[0])
    found = {}
    for task, of_task in table.groupby("task", sort=False):
        questions = of_task.drop_duplicates("question").set_index("question")["family"].sort_index()
        arms = {}
        for arm, of_arm in of_task.groupby("arm", sort=False):
            wide = of_arm.pivot(index="seed", columns="question", values="correct").reindex(columns=questions.index)
            if wide.isna().to_numpy().any():
                seed = wide.index[wide.isna().any(axis=1)][0]
                n = int(wide.loc[seed].notna().sum())
                raise EvaluationError(
                    f"answers: the arm {arm!r} with seed {seed} answered {n} of the {len(questions)} questions of "
                    f"{task}; arms are compared on the same questions. {_AGAIN}"
                )
            arms[str(arm)] = wide.to_numpy(dtype=bool)
        if BASE in arms:
            arms[BASE] = _one_base(arms[BASE], questions, str(task))
        found[str(task)] = TaskAnswers(questions.to_numpy(dtype=int), arms)
    _check_seeds(found)
    return found


def _check(table: pd.DataFrame) -> None:
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise EvaluationError(
            f"answers: no column {', '.join(missing)}; a verdict needs {', '.join(COLUMNS)}. {_AGAIN}"
        )
    if table["correct"].isna().any():
        raise EvaluationError(f"answers: {int(table['correct'].isna().sum())} are not marked. {_AGAIN}")
    models = sorted(table["model"].astype(str).unique()) if "model" in table.columns else []
    if len(models) > 1:
        raise EvaluationError(
            f"answers: they are of {len(models)} models ({', '.join(models)}), and arms of different models cannot be "
            f"compared. {_AGAIN}"
        )
    twice = table.duplicated(["task", "question", "arm", "seed"])
    if twice.any():
        row = table[twice].iloc[0]
        raise EvaluationError(
            f"answers: the arm {row['arm']!r} with seed {row['seed']} answered question {row['question']!r} twice. "
            f"{_AGAIN}"
        )


def _one_base(right: NDArray[np.bool_], questions: pd.Series, task: str) -> NDArray[np.bool_]:
    differ = (right != right[0]).any(axis=0)
    if differ.any():
        raise EvaluationError(
            f"answers: the base model answers {int(differ.sum())} questions of {task} differently between seeds, "
            f"{questions.index[differ][0]!r} among them. It is one model, not trained here: its answers come from "
            f"different models or machines. {_AGAIN}"
        )
    return right[:1]


def _check_seeds(found: Mapping[str, TaskAnswers]) -> None:
    core = [found[task] for task in (TRAINED_TASK, *UNTRAINED_TASKS) if task in found]
    for arm in (SPELLING, CONTROL):
        seeds = {len(answers.arms[arm]) for answers in core if arm in answers.arms}
        if len(seeds) > 1:
            raise EvaluationError(
                f"answers: the arm {arm!r} has {' and '.join(map(str, sorted(seeds)))} seeds in different tasks; every "
                f"seed has to answer all of them. {_AGAIN}"
            )
