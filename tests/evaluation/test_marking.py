import pandas as pd
import pytest

from spelling_transfer.evaluation.marking import mark_answers, score_answers
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.statistics.intervals import wilson_interval
from spelling_transfer.tasks.registry import load_tasks


def _one(examples: pd.DataFrame, task: str, output: str) -> pd.Series:
    asked = examples[examples["task"] == task].head(1)
    row = asked.assign(output=output.format(answer=asked["answer"].iloc[0]), arm="base")
    return mark_answers(row, load_tasks()).iloc[0]


def test_right_lenient_and_unreadable_answers_are_distinguished(examples: pd.DataFrame) -> None:
    right = _one(examples, "count", "{answer}")
    wordy = _one(examples, "count", "There are {answer}.")
    unreadable = _one(examples, "count", "I do not know")
    assert [right["exact"], right["lenient"], right["invalid"]] == [True, True, False]
    assert [wordy["exact"], wordy["lenient"], wordy["invalid"]] == [False, True, False]
    assert [unreadable["exact"], unreadable["lenient"], unreadable["invalid"]] == [False, False, True]
    assert wordy["absolute_error"] == 0


def test_measures_of_a_task_are_missing_for_the_others(answers: pd.DataFrame) -> None:
    marked = mark_answers(answers, load_tasks())
    has = marked.groupby("task")[["similarity", "absolute_error"]].agg(lambda column: column.notna().any())
    assert has.loc["spelling"].tolist() == [True, False]
    assert has.loc["count"].tolist() == [False, True]
    assert has.loc["position"].tolist() == [False, False]


def test_an_answer_of_a_task_that_is_not_installed_is_named(answers: pd.DataFrame) -> None:
    with pytest.raises(EvaluationError, match="no task named rhyme is registered; there are count, position, spelling"):
        mark_answers(
            answers.assign(task="rhyme"), {name: load_tasks()[name] for name in ("count", "position", "spelling")}
        )


def test_scores_are_shares_of_the_marks_with_wilson_intervals(answers: pd.DataFrame) -> None:
    marked = mark_answers(answers, load_tasks())
    scores = score_answers(marked).set_index(["arm", "task", "group", "value"])
    part = marked[(marked["arm"] == "base") & (marked["task"] == "position") & (marked["word_set"] == "word")]
    row = scores.loc[("base", "position", "all", "all")]
    assert row["n"] == len(part) == 144
    assert row["exact_match"] == part["exact"].mean()
    assert (row["low"], row["high"]) == wilson_interval(int(part["exact"].sum()), 144)
    hard = part[part["difficulty"] == "hard"]
    assert scores.loc[("base", "position", "difficulty", "hard"), "exact_match"] == hard["exact"].mean()


def test_each_breakdown_covers_all_questions_once(answers: pd.DataFrame) -> None:
    scores = score_answers(mark_answers(answers, load_tasks()))
    n = scores[scores["task"] == "count"].groupby(["arm", "group"])["n"].sum().unstack()
    assert (n[["all", "difficulty", "n_tokens", "template_held_out", "answer_class"]] == 144).all().all()
    assert (n["endpoint"] == 146).all()


def test_seeds_are_scored_apart(answers: pd.DataFrame) -> None:
    other = answers[answers["arm"] == "spelling"].assign(seed=1, output="nothing to read")
    scores = score_answers(mark_answers(pd.concat([answers, other], ignore_index=True), load_tasks()))
    main = scores[(scores["arm"] == "spelling") & (scores["group"] == "all") & (scores["task"] == "spelling")]
    assert main["seed"].tolist() == [0, 1]
    assert main["exact_match"].iloc[0] > 0.7
    assert main["exact_match"].iloc[1] == 0


def test_only_the_endpoint_breakdown_holds_other_endpoints(answers: pd.DataFrame) -> None:
    scores = score_answers(mark_answers(answers, load_tasks()))
    by_set = scores[(scores["group"] == "endpoint") & (scores["task"] == "spelling") & (scores["arm"] == "base")]
    assert dict(zip(by_set["value"], by_set["n"], strict=True)) == {"made_up": 2, "held_out": 144}


def test_breakdowns_read_in_their_natural_order(answers: pd.DataFrame) -> None:
    scores = score_answers(mark_answers(answers, load_tasks()))
    one = scores[(scores["arm"] == "base") & (scores["task"] == "position")]
    assert one.loc[one["group"] == "difficulty", "value"].tolist() == ["easy", "medium", "hard"]
    assert one.loc[one["group"] == "n_tokens", "value"].tolist() == ["1", "2", "3", "4+"]
    places = [int(value) for value in one.loc[one["group"] == "asked", "value"]]
    assert places == sorted(places)


def test_spelling_is_not_broken_down_by_answer(answers: pd.DataFrame) -> None:
    scores = score_answers(mark_answers(answers, load_tasks()))
    assert set(scores.loc[scores["group"] == "answer_class", "task"]) == {"position", "count"}


def test_majority_is_what_the_commonest_answer_would_score(answers: pd.DataFrame) -> None:
    scores = score_answers(mark_answers(answers, load_tasks())).set_index(["arm", "task", "group"])
    words = answers[(answers["word_set"] == "word") & (answers["task"] == "count") & (answers["arm"] == "base")]
    best = max((words["answer"] == guess).mean() for guess in set(words["answer"]))
    assert scores.loc[("base", "count", "all"), "majority"].item() == best
