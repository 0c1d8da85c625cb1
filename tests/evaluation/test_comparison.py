import pandas as pd
import pytest

from spelling_transfer.evaluation.comparison import compare_arms, pair_arms, verdict
from spelling_transfer.evaluation.marking import mark_answers
from spelling_transfer.evaluation.sampling import EvaluationError
from spelling_transfer.statistics.intervals import NO_INTERVAL, Interval, gap_closed, paired_difference
from spelling_transfer.tasks.registry import load_tasks


@pytest.fixture
def pairs(answers: pd.DataFrame) -> pd.DataFrame:
    return pair_arms(mark_answers(answers, load_tasks()), "base", "fine-tuned")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(0.01, 0.1), "up"),
        (Interval(-0.1, -0.01), "down"),
        (Interval(-0.1, 0.1), "unclear"),
        (Interval(0.0, 0.1), "unclear"),
        (NO_INTERVAL, "unclear"),
    ],
)
def test_a_verdict_needs_an_interval_that_excludes_zero(interval: Interval, expected: str) -> None:
    assert verdict(interval) == expected


def test_answers_are_paired_by_example_in_whatever_order_they_come(answers: pd.DataFrame) -> None:
    marked = mark_answers(answers, load_tasks())
    shuffled = marked.sample(frac=1, random_state=0)
    ordered, other = (
        pair_arms(frame, "base", "fine-tuned").sort_values("example_id", ignore_index=True)
        for frame in (marked, shuffled)
    )
    pd.testing.assert_frame_equal(ordered, other)


def test_arms_with_different_questions_are_refused(answers: pd.DataFrame) -> None:
    marked = mark_answers(answers, load_tasks())
    with pytest.raises(EvaluationError, match=r"'base' \(438 answers\) and 'fine-tuned' \(437\)"):
        pair_arms(marked.iloc[:-1], "base", "fine-tuned")


def test_each_task_is_compared_on_real_words(pairs: pd.DataFrame) -> None:
    comparison = compare_arms(pairs, "base", "fine-tuned", n_resamples=999)
    rows = comparison[comparison["group"] == "all"].set_index("task")
    assert rows["verdict"].to_dict() == {"spelling": "up", "position": "unclear", "count": "down"}
    part = pairs[(pairs["task"] == "spelling") & (pairs["word_set"] == "word")]
    direct = paired_difference(part["reference"], part["arm"], part["stem"], n_resamples=999)
    row = rows.loc["spelling"]
    assert (row["n"], row["difference"], row["p_value"]) == (direct.n, direct.difference, direct.p_value)
    assert (row["low"], row["high"]) == direct.interval
    assert row["gap_closed"] == gap_closed(direct.reference, direct.arm)
    assert row["gap_low"] < row["gap_closed"] < row["gap_high"]


def test_wordings_and_word_sets_are_compared_apart(pairs: pd.DataFrame) -> None:
    comparison = compare_arms(pairs, "base", "fine-tuned", n_resamples=999)
    one = comparison[comparison["task"] == "position"].set_index("value")["n"]
    assert one["trained wording"] + one["held-out wording"] == one["all"] == 144
    assert one["random"] == 2
