from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.samples.verdicts import arm_answers, gains

from spelling_transfer.evaluation.arms import ARMS, answers_by_task, arm_table
from spelling_transfer.evaluation.marking import mark_answers
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.tasks.registry import load_tasks


@pytest.fixture
def table() -> pd.DataFrame:
    return arm_answers(gains(), families=40)


def test_arms_are_seeds_by_questions_in_whatever_order_answers_come(table: pd.DataFrame) -> None:
    answers = answers_by_task(table)
    shuffled = answers_by_task(table.sample(frac=1, random_state=0))
    assert {arm: right.shape for arm, right in answers["position"].arms.items()} == {
        "base": (1, 40), "spelling": (3, 40), "control": (3, 40), "direct position": (3, 40),
    }  # fmt: skip
    for task, of_task in answers.items():
        assert of_task.families.tolist() == shuffled[task].families.tolist()
        for arm, right in of_task.arms.items():
            np.testing.assert_array_equal(right, shuffled[task].arms[arm])


def test_marked_answers_become_the_table(answers: pd.DataFrame) -> None:
    table = arm_table(mark_answers(answers, load_tasks()))
    assert set(table["arm"]) == {"base", "spelling"}
    assert set(table.loc[table["arm"] == "spelling", "seed"]) == {0}
    assert len(table) == (answers["word_set"] == "word").sum()
    assert "template_held_out" in table.columns


def test_what_is_only_read_as_right_is_not_right_for_a_verdict(answers: pd.DataFrame) -> None:
    marked = mark_answers(answers, load_tasks()).assign(lenient=True)
    words = marked[marked["word_set"] == "word"]
    assert set(words["exact"]) == {True, False}
    assert arm_table(marked)["correct"].tolist() == words["exact"].tolist()


def test_arms_are_known_by_the_names_of_settings_and_others_are_left_out(answers: pd.DataFrame) -> None:
    marked = mark_answers(answers, load_tasks())
    base = marked[marked["arm"] == "base"]
    names = ("form_control", "direct_position", "direct_count", "indexed_spelling")
    table = arm_table(pd.concat([marked, *(base.assign(arm=name) for name in names)]))
    assert set(table["arm"]) == set(ARMS)


def test_a_base_that_differs_between_seeds_is_named(table: pd.DataFrame) -> None:
    base = table[table["arm"] == "base"]
    same = answers_by_task(pd.concat([table, base.assign(seed=1)]))
    assert same["count"].arms["base"].shape == (1, 40)
    other = base.assign(seed=1)
    other.loc[other["question"] == "position-0007", "correct"] ^= True
    with pytest.raises(EvaluationError, match=r"base model answers 1 questions of position .* 'position-0007'"):
        answers_by_task(pd.concat([table, other]))


def test_a_seed_that_answered_fewer_questions_is_named(table: pd.DataFrame) -> None:
    gone = (table["arm"] == "control") & (table["seed"] == 2) & (table["question"] == "count-0003")
    with pytest.raises(EvaluationError, match="'control' with seed 2 answered 39 of the 40 questions of count"):
        answers_by_task(table[~gone])


def test_answers_of_two_models_are_refused(table: pd.DataFrame) -> None:
    models = np.where(table["arm"] == "control", "other", "tiny")
    with pytest.raises(EvaluationError, match="2 models \\(other, tiny\\)"):
        answers_by_task(table.assign(model=models))
    assert answers_by_task(table.assign(model="tiny"))


def test_an_answer_that_is_there_twice_is_named(table: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match="'base' with seed 0 answered question 'spelling-0000' twice"):
        answers_by_task(pd.concat([table, table.head(1)]))


def test_a_missing_column_and_unmarked_answers_are_named(table: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match="no column seed"):
        answers_by_task(table.drop(columns="seed"))
    with pytest.raises(EvaluationError, match="1 are not marked"):
        answers_by_task(table.astype({"correct": object}).replace({"correct": {}}).assign(
            correct=lambda frame: frame["correct"].where(frame.index != 0)
        ))  # fmt: skip


def test_an_arm_with_other_seeds_in_another_task_is_named(table: pd.DataFrame) -> None:
    gone = (table["arm"] == "spelling") & (table["seed"] == 2) & (table["task"] == "count")
    with pytest.raises(EvaluationError, match="'spelling' has 2 and 3 seeds"):
        answers_by_task(table[~gone])
