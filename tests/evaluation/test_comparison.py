import numpy as np
import pandas as pd
import pytest

from spelling_transfer.evaluation.comparison import compare_all, compare_arms, pair_arms, transfer_ratios
from spelling_transfer.evaluation.marking import mark_answers
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.statistics.paired import gap_closed, paired_difference
from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import FOCUS_WEIGHTS, transfer_score
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks

BOOTSTRAP = Bootstrap(n_resamples=999)


@pytest.fixture
def pairs(answers: pd.DataFrame) -> pd.DataFrame:
    return pair_arms(mark_answers(answers, load_tasks()), "base", "spelling")


def test_answers_are_paired_by_example_in_whatever_order_they_come(answers: pd.DataFrame) -> None:
    marked = mark_answers(answers, load_tasks())
    shuffled = marked.sample(frac=1, random_state=0)
    ordered, other = (
        pair_arms(frame, "base", "spelling").sort_values("example_id", ignore_index=True)
        for frame in (marked, shuffled)
    )
    pd.testing.assert_frame_equal(ordered, other)


def test_arms_with_different_questions_are_refused(answers: pd.DataFrame) -> None:
    marked = mark_answers(answers, load_tasks())
    with pytest.raises(EvaluationError, match=r"'base' \(438 answers\) and 'spelling' \(437\)"):
        pair_arms(marked.iloc[:-1], "base", "spelling")


def test_each_task_is_compared_on_real_words(pairs: pd.DataFrame) -> None:
    comparison = pd.DataFrame(compare_arms(pairs, "base", "spelling", BOOTSTRAP))
    rows = comparison[comparison["group"] == "all"].set_index("task")
    assert rows["verdict"].to_dict() == {"spelling": "up", "position": "unclear", "count": "down"}
    part = pairs[(pairs["task"] == "spelling") & (pairs["word_set"] == "word")]
    direct = paired_difference(part["reference"], part["arm"], part["stem"])
    row = rows.loc["spelling"]
    assert (row["n"], row["difference"], row["p_value"]) == (direct.n, direct.difference, direct.p_value)
    assert (row["low"], row["high"]) == direct.interval
    assert row["gap_closed"] == gap_closed(direct.reference, direct.arm)
    assert row["gap_low"] < row["gap_closed"] < row["gap_high"]


def test_wordings_and_word_sets_are_compared_apart(pairs: pd.DataFrame) -> None:
    comparison = pd.DataFrame(compare_arms(pairs, "base", "spelling", BOOTSTRAP))
    one = comparison[comparison["task"] == "position"].set_index("value")["n"]
    assert one["trained wording"] + one["held-out wording"] == one["all"] == 144
    assert one["random"] == 2


def marked_answers(
    gains: dict[str, dict[str, float]], families: int = 300, tasks: tuple[str, ...] = (*CORE_TASKS, "reverse")
) -> pd.DataFrame:
    """Each arm has right what the base has, and of the rest the share of its gain, luckily on the same questions."""
    frames = []
    for place, task in enumerate(tasks):
        rng = np.random.default_rng(place)
        base, luck = rng.random(families) < 0.3, rng.random(families)
        for arm, gain in gains.items():
            if arm == "form_control" and task == "reverse":
                continue
            exact = base | (luck < gain.get(task, 0.0) / 0.7)
            frames.append(
                pd.DataFrame(
                    {
                        "arm": arm,
                        "task": task,
                        "example_id": [f"{task}-{i}" for i in range(families)],
                        "stem": [f"stem{i}" for i in range(families)],
                        "word_set": "word",
                        "template_held_out": [i % 2 == 0 for i in range(families)],
                        "exact": exact,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


GAINS = {"base": {}, "spelling": {"spelling": 0.4, "position": 0.2, "count": 0.1}, "form_control": {"count": 0.1}}


def compared(marked: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return compare_all(marked, "transfer", FOCUS_WEIGHTS["transfer"], BOOTSTRAP)


def test_the_difference_to_the_control_is_the_change_less_the_controls_change() -> None:
    marked = marked_answers(GAINS)
    _, found = compared(marked)
    rows = found[(found["group"] == "all") & (found["measure"] == "exact_match")].set_index("task")
    shares = marked.groupby(["task", "arm"])["exact"].mean()
    for task in CORE_TASKS:
        change, by_form = (shares[task, arm] - shares[task, "base"] for arm in ("spelling", "form_control"))
        assert rows.loc[task, "difference"] == pytest.approx(change - by_form)
    assert rows["verdict"].to_dict() == {"spelling": "up", "position": "up", "count": "unclear"}
    assert "reverse" not in rows.index  # the control arm was not asked it
    # The treatment is judged as its gate judges it: else the page could call it unclear beside an open gate.
    assert rows.loc["spelling", "p_adjusted"] == rows.loc["spelling", "p_value"]
    assert rows.loc["count", "p_adjusted"] >= rows.loc["count", "p_value"]
    assert (found["p_adjusted"] > found["p_value"])[found["group"] != "all"].any()


def test_both_comparisons_end_with_the_transfer_score_of_the_focus() -> None:
    marked = marked_answers(GAINS)
    shares = marked.groupby(["arm", "task"])["exact"].mean()
    for frame, reference in zip(compared(marked), ("base", "form_control"), strict=True):
        row = frame.iloc[-1]
        assert (row["measure"], row["value"], row["reference"]) == ("transfer_score", "transfer", reference)
        for column, arm in (("reference_score", reference), ("arm_score", "spelling")):
            expected = transfer_score(*(shares[arm, task] for task in CORE_TASKS), "transfer")
            assert row[column] == pytest.approx(expected)
        assert row["low"] < row["difference"] < row["high"]


def test_without_a_control_arm_its_comparison_has_the_same_columns_and_no_rows() -> None:
    comparison, control = compared(marked_answers({"base": {}, "spelling": {"spelling": 0.4}}))
    assert control.empty
    assert list(control.columns) == list(comparison.columns)


def test_a_task_that_was_not_asked_leaves_no_transfer_score() -> None:
    marked = marked_answers(GAINS)
    for frame in compared(marked[marked["task"] != "count"]):
        assert "transfer_score" not in set(frame["measure"])


def test_the_ratio_to_spelling_has_an_interval_and_is_left_out_where_spelling_may_not_have_risen() -> None:
    pairs = pair_arms(marked_answers(GAINS, tasks=CORE_TASKS), "form_control", "spelling")
    row = next(transfer_ratios(pairs, "form_control", "spelling"))
    gains = (pairs["arm"].astype(float) - pairs["reference"].astype(float)).groupby(pairs["task"]).mean()
    assert (row["measure"], row["task"], row["n"]) == ("transfer_ratio", "position", 300)
    assert row["difference"] == pytest.approx(gains["position"] / gains["spelling"])
    assert 0.2 < row["low"] < row["difference"] < row["high"] < 0.9
    for control in ({}, {"spelling": 0.4}):
        _, found = compared(marked_answers({"base": {}, "spelling": {"position": 0.2}, "form_control": control}))
        assert "transfer_ratio" not in set(found["measure"])


def test_the_ratio_to_spelling_is_of_real_words_alone() -> None:
    words = marked_answers(GAINS, tasks=CORE_TASKS)
    letters = marked_answers({"base": {}, "spelling": {"spelling": 0.6}, "form_control": {}}, tasks=CORE_TASKS)
    letters = letters.assign(word_set="random", **{name: "r" + letters[name] for name in ("example_id", "stem")})
    both, alone = (
        found[found["measure"] == "transfer_ratio"].reset_index(drop=True)
        for _, found in (compared(pd.concat([words, letters])), compared(words))
    )
    assert list(alone["n"]) == [300, 300]
    pd.testing.assert_frame_equal(both, alone)
