from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from tests.samples.verdicts import arm_answers, gains

from spelling_transfer.evaluation.arms import answers_by_task
from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.evaluation.verdict import decide, judge
from spelling_transfer.evaluation.verdict_parts import Comparison, Verdict
from spelling_transfer.statistics.paired import paired_difference

SETTINGS = VerdictSettings()


def verdict(table: pd.DataFrame, settings: VerdictSettings = SETTINGS) -> Verdict:
    return decide(table, settings)


def test_transfer_above_both_arms_is_a_yes_with_its_share_of_the_ceiling() -> None:
    found = verdict(arm_answers(gains(transfer=0.12)))
    assert found.answer == "yes"
    assert [task.answer for task in found.tasks] == ["yes", "yes"]
    assert all(gate.passed for gate in found.gates)
    for task in found.tasks:
        assert 0 < task.low < task.transfer < task.high
        assert task.p_adjusted >= task.p_value
        assert task.transfer == min(each.found.difference for each in task.comparisons)
    assert found.headline is not None
    assert found.headline.interval.low < 0.6 < found.headline.interval.high
    assert 0.4 < found.headline.ratio < 0.8


def test_no_transfer_with_open_gates_is_a_no_with_its_bound() -> None:
    found = verdict(arm_answers(gains(), families=1_500))
    assert found.answer == "no"
    assert all(-0.05 < task.low < 0 < task.high < 0.05 for task in found.tasks)


def test_few_questions_cannot_tell() -> None:
    found = verdict(arm_answers(gains(direct=0.4), families=100, churn=0.6))
    assert found.answer == "inconclusive"
    assert all(gate.passed for gate in found.gates)
    assert all(task.shut == () for task in found.tasks)
    assert any(task.low < 0 and task.high > 0.05 for task in found.tasks)


def test_harm_is_a_no_and_said() -> None:
    found = verdict(arm_answers(gains(transfer=-0.12)))
    assert found.answer == "no"
    assert all(task.fell and task.high < 0 for task in found.tasks)


@pytest.mark.parametrize(("lost", "fell"), [(6, False), (7, True)])
def test_six_of_600_lost_in_one_task_of_two_are_no_harm_once_both_tests_count(lost: int, fell: bool) -> None:
    table = arm_answers(gains(), families=600, seeds=1)
    base = table[table["arm"] == "base"].set_index("question")["correct"]
    treated = (table["task"] != "spelling") & table["arm"].isin(["spelling", "control"])
    table.loc[treated, "correct"] = table.loc[treated, "question"].map(base).to_numpy()
    right = table[(table["task"] == "position") & (table["arm"] == "base") & table["correct"]]["question"]
    table.loc[(table["arm"] == "spelling") & table["question"].isin(right.iloc[:lost]), "correct"] = False
    position, count = decide(table, VerdictSettings(seed_spread=0.0)).tasks
    against_base = position.comparisons[0].found
    assert against_base.p_value == pytest.approx(2 / 2**lost)
    assert against_base.interval.high < 0
    assert (position.fell, count.fell) == (fell, False)


def test_a_harmed_control_is_no_transfer_though_the_arm_is_above_it() -> None:
    found = verdict(arm_answers(gains(control=-0.12), families=800))
    position = found.tasks[0]
    against = {each.reference: each.found for each in position.comparisons}
    assert against["control"].interval.low > 0
    assert position.answer != "yes"
    assert {(note.kind, note.subject) for note in found.notes} == {
        ("control fell", "position"),
        ("control fell", "count"),
    }


def test_a_form_gain_of_both_arms_is_no_transfer_though_the_arm_is_above_the_base() -> None:
    found = verdict(arm_answers(gains(control=0.12, transfer=0.12, direct=0.3), families=800))
    against = {each.reference: each.found for each in found.tasks[0].comparisons}
    assert against["base"].interval.low > 0
    assert found.answer != "yes"


def test_a_treatment_that_did_not_work_shuts_the_gate_whatever_else_is_there() -> None:
    for spelling in (0.0, 0.05):  # none, and too little for an interval above five points
        found = verdict(arm_answers(gains(spelling=spelling, transfer=0.12)))
        assert found.answer == "inconclusive"
        assert [gate.gate for gate in found.gates if not gate.passed] == ["treatment"]
        assert found.tasks[0].shut == ("treatment",)
        assert found.tasks[0].high > 0


def test_spelling_above_a_control_that_unlearned_it_is_no_treatment() -> None:
    of = gains(spelling=0.0, transfer=0.12)
    found = verdict(arm_answers({**of, "spelling": {"control": -0.3}}))
    treatment = found.gates[1]
    assert {each.reference: each.above(0.05) for each in treatment.comparisons} == {"base": False, "control": True}
    assert not treatment.passed


def test_without_a_ceiling_in_one_task_the_other_is_answered() -> None:
    of = gains(transfer=0.12)
    of = {**of, "count": {**of["count"], "direct count": 0.0}}
    found = verdict(arm_answers(of))
    assert {task.task: task.answer for task in found.tasks} == {"position": "yes", "count": "inconclusive"}
    assert found.tasks[1].shut == ("ceiling",)
    assert found.tasks[1].ratio is None
    assert found.headline == found.tasks[0].ratio


@pytest.mark.parametrize(
    ("arms", "missing"),
    [
        (("base", "spelling", "control"), {"direct position", "direct count"}),
        (("base", "spelling", "direct position", "direct count"), {"control"}),
        (("spelling", "control", "direct position", "direct count"), {"base"}),
    ],
)
def test_arms_that_are_not_there_are_named_and_the_bound_that_is_left_is_given(
    arms: tuple[str, ...], missing: set[str]
) -> None:
    found = verdict(arm_answers(gains(transfer=0.12), arms=arms))
    assert found.answer == "inconclusive"
    assert {name for gate in found.gates for name in gate.missing} == missing
    for task in found.tasks:
        assert task.high > 0
        assert math.isnan(task.low) == ("direct position" not in missing)


def test_a_base_alone_gives_no_bound() -> None:
    found = verdict(arm_answers(gains(), arms=("base",)))
    assert found.answer == "inconclusive"
    assert all(math.isnan(task.high) for task in found.tasks)
    assert json.loads(json.dumps(found.document()))["tasks"][0]["high"] is None


def test_four_of_600_won_and_none_lost_are_no_claim() -> None:
    table = arm_answers(gains(), families=600, seeds=1)
    base = table[(table["arm"] == "base") & (table["task"] == "position")].set_index("question")["correct"]
    of_base = (table["task"] == "position") & table["arm"].isin(["spelling", "control"])
    table.loc[of_base, "correct"] = table.loc[of_base, "question"].map(base).to_numpy()
    won = base[~base].index[:4]
    table.loc[(table["arm"] == "spelling") & table["question"].isin(won), "correct"] = True
    found = decide(table, VerdictSettings(seed_spread=0.0))
    position = found.tasks[0]
    assert [each.found.only_arm for each in position.comparisons] == [4, 4]
    assert position.p_value == pytest.approx(0.125)
    assert position.answer == "no"


def test_two_hypotheses_are_adjusted_together() -> None:
    found = verdict(arm_answers(gains(transfer=0.05), families=500))
    p = sorted(task.p_value for task in found.tasks)
    adjusted = sorted(task.p_adjusted for task in found.tasks)
    assert adjusted[0] == pytest.approx(min(1, 2 * p[0]))
    assert adjusted[1] == pytest.approx(max(p[1], 2 * p[0]))


def test_transfer_is_bounded_and_tested_by_the_comparison_that_is_worse() -> None:
    found = verdict(arm_answers(gains(control=0.08, transfer=0.1), families=800))
    position, count = found.tasks
    for task in found.tasks:
        base, control = (each.found for each in task.comparisons)
        assert control.interval.low < base.interval.low
        assert control.interval.high < base.interval.high
        assert (task.transfer, task.low, task.high) == (control.difference, *control.interval)
        assert task.p_value == control.p_value > base.p_value
        assert task.detectable == max(base.detectable, control.detectable)
    assert position.answer == "yes"
    # Count is clearly above the base model, and not above the form control.
    assert count.comparisons[0].found.interval.low > 0
    assert count.answer == "inconclusive"


def test_six_of_600_won_in_one_task_of_two_are_no_claim_once_both_tests_count() -> None:
    table = arm_answers(gains(), families=600, seeds=1)
    base = table[table["arm"] == "base"].set_index("question")["correct"]
    treated = (table["task"] != "spelling") & table["arm"].isin(["spelling", "control"])
    table.loc[treated, "correct"] = table.loc[treated, "question"].map(base).to_numpy()
    wrong = table[(table["task"] == "position") & (table["arm"] == "base") & ~table["correct"]]["question"]
    table.loc[(table["arm"] == "spelling") & table["question"].isin(wrong.iloc[:6]), "correct"] = True
    position = decide(table, VerdictSettings(seed_spread=0.0)).tasks[0]
    assert not position.shut
    assert position.low > 0
    assert (position.p_value, position.p_adjusted) == pytest.approx((0.03125, 0.0625))
    assert position.answer == "no"


def test_no_transfer_is_said_where_the_whole_interval_is_negligible_and_not_before() -> None:
    answers = answers_by_task(arm_answers(gains(), families=800))
    high = max(task.high for task in judge(answers, SETTINGS).tasks)
    assert high > 0
    assert judge(answers, VerdictSettings(negligible=high * 1.001)).answer == "no"
    assert judge(answers, VerdictSettings(negligible=high)).answer == "inconclusive"


def test_what_could_be_found_is_what_the_stricter_of_both_tests_would_find() -> None:
    task = judge(answers_by_task(arm_answers(gains(), seeds=1)), VerdictSettings(seed_spread=0.0)).tasks[0]
    for each in task.comparisons:
        standard_error = (each.found.interval.high - each.found.interval.low) / (2 * 1.959964)
        assert each.found.detectable == pytest.approx((2.241403 + 0.841621) * standard_error, rel=1e-5)


def test_one_seed_is_judged_with_the_spread_that_is_assumed() -> None:
    table = arm_answers(gains(transfer=0.06), families=800, seeds=1)
    narrow, wide = (judge(answers_by_task(table), VerdictSettings(seed_spread=each)) for each in (0.0, 0.03))
    assert narrow.tasks[0].high < wide.tasks[0].high
    assert narrow.tasks[0].detectable < wide.tasks[0].detectable
    for sure, unsure in ((narrow.tasks[0].ratio, wide.tasks[0].ratio), (narrow.headline, wide.headline)):
        assert sure is not None
        assert unsure is not None
        assert unsure.interval.low < sure.interval.low < sure.interval.high < unsure.interval.high
    assert [note.subject for note in wide.notes if note.kind == "assumed spread"] == [
        "spelling", "control", "direct position", "direct count",
    ]  # fmt: skip
    assert not [note for note in verdict(arm_answers(gains())).notes if note.kind == "assumed spread"]


def test_strata_are_adjusted_together_and_small_ones_are_named() -> None:
    table = arm_answers(gains(transfer=0.12))
    rare = table["family"].isin(["stem0000", "stem0001"])
    table["difficulty"] = pd.Categorical(
        np.where(rare, "medium", table["difficulty"]), categories=["easy", "medium", "hard", "absurd"]
    )
    found = decide(table, SETTINGS, strata=["difficulty"])
    rows = found.secondary
    assert set(rows["value"]) == {"easy", "hard"}
    assert (rows["p_adjusted"] >= rows["p_value"]).all()
    one = rows[(rows["task"] == "position") & (rows["value"] == "easy") & (rows["reference"] == "base")].iloc[0]
    part = table[(table["task"] == "position") & (table["difficulty"] == "easy")].sort_values("question")
    right = {arm: of.pivot(index="seed", columns="question", values="correct") for arm, of in part.groupby("arm")}
    direct = paired_difference(right["base"], right["spelling"], np.arange(right["base"].shape[1]))
    assert (one["low"], one["high"]) == pytest.approx(direct.interval)
    kinds = {(note.kind, note.subject) for note in found.notes}
    assert ("few", "position, difficulty medium") in kinds
    assert ("no questions", "position, difficulty absurd") in kinds
    with pytest.raises(EvaluationError, match="no column frequency"):
        decide(table, SETTINGS, strata=["frequency"])


def test_of_what_was_not_declared_nothing_is_clear_by_its_own_test_alone() -> None:
    rows = decide(arm_answers(gains(transfer=0.04)), SETTINGS, strata=["difficulty"]).secondary
    by_itself = (rows["low"] > 0) & (rows["p_value"] <= 0.05) & (rows["p_adjusted"] > 0.05)
    assert by_itself.any()
    assert set(rows[by_itself]["verdict"]) == {"unclear"}
    assert set(rows[(rows["low"] > 0) & (rows["p_adjusted"] <= 0.05)]["verdict"]) == {"up"}


def test_a_gate_needs_the_test_beside_the_interval() -> None:
    # 20 won and 9 lost of 600: the interval lies above zero by a hair, and McNemar's p is 0.061.
    found = paired_difference(np.arange(600) < 9, np.arange(600) >= 580, np.arange(600))
    assert found.interval.low > 0
    assert found.p_value == pytest.approx(0.0614, abs=1e-4)
    assert not Comparison("position", "direct position", "base", found).above(0.0)


def test_the_test_of_a_gate_has_the_level_of_its_interval() -> None:
    # 23 won and 8 lost of 600: the 99% interval lies above zero by a hair, and McNemar's p is 0.0107.
    rights = np.arange(600) < 8, np.arange(600) >= 577
    found = Comparison(
        "position", "direct position", "base", paired_difference(*rights, np.arange(600), confidence=0.99)
    )
    assert found.found.interval.low > 0
    assert found.found.p_value == pytest.approx(0.0107, abs=1e-4)
    assert found.above(0.0)
    assert not found.above(0.0, confidence=0.99)


def test_the_document_is_plain_and_the_same_twice() -> None:
    table = arm_answers(gains(transfer=0.12))
    first, again = (json.dumps(verdict(table).document(), allow_nan=False) for _ in range(2))
    assert first == again
    document = json.loads(first)
    assert document["answer"] == "yes"
    assert document["tasks"][0]["comparisons"][0]["reference"] == "base"
    assert document["seeds"] == {"base": 1, "spelling": 3, "control": 3, "direct position": 3, "direct count": 3}
