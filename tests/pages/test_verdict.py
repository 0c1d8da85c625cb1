from __future__ import annotations

import pandas as pd
import pytest
from tests.samples.verdicts import Gains, arm_answers, gains

from spelling_transfer.evaluation.settings import VerdictSettings
from spelling_transfer.evaluation.verdict import decide
from spelling_transfer.pages.verdict import (
    describe_done,
    describe_verdict,
    first_seed_note,
    gates_table,
    secondary_table,
)


def words(of: Gains, **how: object) -> list[str]:
    return describe_verdict(decide(arm_answers(of, **how), VerdictSettings()).document())  # type: ignore[arg-type]


def test_a_yes_has_its_numbers_and_its_share_of_the_ceiling() -> None:
    first, headline, *_ = words(gains(transfer=0.12))
    assert first.startswith("Yes, spelling carried over to position: +1")
    assert "adjusted for 2 tasks" in first
    assert headline.startswith("In position and count taken together, direct training gains +")
    assert "training on spelling gains" in headline


def test_a_no_has_its_bound() -> None:
    document = decide(arm_answers(gains(), families=1_500), VerdictSettings()).document()
    position, count = (f"{100 * task['high']:+.1f} points in {task['task']}" for task in document["tasks"])
    assert describe_verdict(document)[0] == (
        f"No, spelling carried over neither to position nor to count: at most {position} and {count}."
    )


def test_a_task_without_an_answer_is_said_beside_one_with() -> None:
    of = gains(transfer=0.12)
    first = words({**of, "count": {**of["count"], "direct count": 0.0}})[0]
    assert first.startswith("Yes, spelling carried over to position")
    assert first.endswith("; for count the result is inconclusive.")
    assert "count: " not in first


def test_a_no_beside_a_yes_has_its_own_bound() -> None:
    of = {**gains(transfer=0.12), "count": gains()["count"]}
    document = decide(arm_answers(of, families=1_500), VerdictSettings()).document()
    position, count = document["tasks"]
    assert (position["answer"], count["answer"]) == ("yes", "no")
    first = describe_verdict(document)[0]
    assert first.startswith(f"Yes, spelling carried over to position: {100 * position['transfer']:+.1f} points (")
    assert position["p_adjusted"] == pytest.approx(2 * position["p_value"])
    assert f"; p = {position['p_adjusted']:.2g}, adjusted for 2 tasks)" in first
    assert first.endswith(f"; no transfer to count (at most {100 * count['high']:+.1f} points).")


def test_beside_a_yes_the_task_without_an_answer_has_its_bound_alone() -> None:
    of = gains(transfer=0.12)
    bound = words({**of, "count": {**of["count"], "direct count": 0.0}})[1]
    assert bound.startswith("Transfer above +")
    assert "a single comparison has 80% power to detect +" in bound  # a yes needs both
    assert "points in count" in bound
    assert "position" not in bound
    assert not any(line.startswith("Transfer above") for line in words(gains(), families=1_500))  # a no has its bound


def effects(*rows: tuple[str, str, float, str]) -> pd.DataFrame:
    """The spelling arm against the form control by kind of position question: stratum, value, difference, clear."""
    fixed = {"endpoint": "held_out", "arm": "spelling", "reference": "form_control", "task": "position"}
    return pd.DataFrame(
        [
            {**fixed, "stratum": stratum, "value": value, "difference": found, "clear": clear}
            | {"low": found - 0.1, "high": found + 0.1}
            for stratum, value, found, clear in rows
        ]
    )


def test_a_yes_says_in_which_kinds_of_questions_it_holds_where_it_does_not_in_others() -> None:
    verdict = decide(arm_answers(gains(transfer=0.12)), VerdictSettings()).document()
    by_place = [("direction", "forward", 0.21, "up"), ("direction", "backward", -0.03, "unclear")]
    everywhere = [
        ("all", "all", 0.12, "up"),
        ("repeated_letter", "yes", 0.12, "up"),
        ("repeated_letter", "no", 0.1, ""),
    ]
    said = describe_verdict(verdict, effects(*everywhere, *by_place))
    assert [line for line in said if "by kind of question" in line] == [
        "Position over the form control by kind of question (exploratory, not declared in advance): counted from the "
        "front +21.0 points (+11.0 to +31.0); counted from the end −3.0 points (−13.0 to +7.0)."
    ]
    assert describe_verdict(verdict, effects(*everywhere)) == describe_verdict(verdict)
    undecided = decide(arm_answers(gains(transfer=0.12, direct=0.0)), VerdictSettings()).document()
    assert describe_verdict(undecided, effects(*by_place)) == describe_verdict(undecided)


@pytest.mark.parametrize(
    ("of", "how", "reason"),
    [
        (gains(), {"arms": ("base", "spelling", "control")}, "no direct arm learned position and count"),
        (gains(), {"arms": ("base", "spelling", "direct position")}, "there are no answers of the form control"),
        (gains(spelling=0.02), {}, "the treatment did not work: the spelling arm spells +"),
        (gains(direct=0.0), {}, "direct training did not raise position ("),
    ],
)
def test_an_inconclusive_result_has_its_reason_and_its_bound(of: Gains, how: dict[str, object], reason: str) -> None:
    first, bound, *_ = words(of, **how)
    assert first.startswith("The result is inconclusive, because ")
    assert reason in first
    assert bound.startswith("Transfer above")
    assert "80% power to detect" in bound
    assert bound.endswith(", tested at 2.5%.")
    assert ("against the base alone" in bound) == ("control" in reason)


def test_no_difference_above_100_points_is_called_detectable() -> None:
    document = decide(arm_answers(gains(direct=0.0)), VerdictSettings()).document()
    position, count = document["tasks"]
    document["tasks"] = [{**position, "detectable": 1.17}, {**count, "detectable": 0.2}]
    assert "to detect no difference in position and +20.0 points in count" in describe_verdict(document)[1]


def test_a_task_without_a_question_is_not_called_untrained() -> None:
    table = arm_answers(gains(transfer=0.12))
    said = describe_verdict(decide(table[table["task"] != "position"], VerdictSettings()).document())
    assert said[0].startswith("Yes, spelling carried over to count")
    first = describe_verdict(decide(table[table["task"] == "position"], VerdictSettings()).document())[0]
    assert first == "The result is inconclusive, because there are no questions of spelling and count."
    table = table[table["arm"].ne("control") | table["task"].ne("spelling")]
    first = describe_verdict(decide(table, VerdictSettings()).document())[0]
    assert first.endswith("because there are no answers of the form control to questions of spelling.")


def test_what_is_of_the_first_seed_alone_is_said_beside_an_answer_over_all() -> None:
    several, one = (decide(arm_answers(gains(), seeds=seeds), VerdictSettings()).document() for seeds in (3, 1))
    assert first_seed_note(several).endswith("assume a standard deviation of 2.0 points between seeds.")
    assert first_seed_note(one) == ""


def test_a_wide_interval_is_the_reason_where_all_gates_are_open() -> None:
    first = words(gains(direct=0.4), families=100, churn=0.6)[0]
    assert "excludes neither zero nor +5.0 points" in first


def test_an_interval_above_zero_is_not_said_to_hold_it() -> None:
    table = arm_answers(gains(direct=0.4), families=100, seeds=1)
    base = table[table["arm"] == "base"].set_index("question")["correct"]
    alike = (table["task"] != "spelling") & table["arm"].isin(["spelling", "control"])
    table.loc[alike, "correct"] = table.loc[alike, "question"].map(base).to_numpy()
    wrong = table[(table["task"] == "position") & (table["arm"] == "base") & ~table["correct"]]["question"]
    table.loc[(table["arm"] == "spelling") & table["question"].isin(wrong.iloc[:6]), "correct"] = True
    first = describe_verdict(decide(table, VerdictSettings(seed_spread=0.0)).document())[0]
    # Six of 100 won and none lost: 6/102 ± 1.96 · sqrt((8/102 − (6/102)²)/102), and McNemar's p is 1/32.
    assert (
        "the interval for position is +0.6 to +11.2 points, but the test does not exclude chance (p = 0.062, adjusted "
        "for 2 tasks)"
    ) in first
    # Of the ceiling nine won and two lost: 7/102 ± 1.96 · sqrt((13/102 − (7/102)²)/102), and McNemar's p is 134/2048.
    right = table[(table["task"] == "position") & (table["arm"] == "base") & table["correct"]]["question"]
    direct = table["arm"] == "direct position"
    table.loc[direct, "correct"] = table.loc[direct, "question"].map(base).to_numpy()
    for questions, become in ((wrong.iloc[:9], True), (right.iloc[:2], False)):
        table.loc[direct & table["question"].isin(questions), "correct"] = become
    first = describe_verdict(decide(table, VerdictSettings(seed_spread=0.0)).document())[0]
    assert (
        "direct training did not raise position (+7.0 points over the base, +0.1 to +13.7, but the test does not "
        "exclude chance, p = 0.065)"
    ) in first


def test_what_a_reader_has_to_know_is_said() -> None:
    said = " ".join(words(gains(control=-0.12, transfer=-0.12), seeds=1))
    assert "The form control fell below the base" in said
    assert "Training on spelling lowered position: −" in said
    assert "assume a standard deviation of 2.0 points between seeds" in said
    few = [
        {"kind": "few", "subject": f"count, {kind}", "value": 8}
        for kind in ("n_tokens 2", "template_held_out True", "difficulty easy")
    ]
    document = decide(arm_answers(gains()), VerdictSettings()).document()
    assert describe_verdict({**document, "notes": few})[-1] == (
        "Kinds of question with too few word families to compare: count (tokens of the word: 2); "
        "count (wording: held out); count (difficulty: easy)."
    )


def test_kinds_with_too_few_families_have_their_names() -> None:
    table = arm_answers(gains(), families=40)
    table["template_held_out"] = table["question"].str.endswith(("-0001", "-0002"))
    said = describe_verdict(decide(table, VerdictSettings()).document())[-1]
    few = "spelling (wording: held out); position (wording: held out); count (wording: held out)"
    assert said == f"Kinds of question with too few word families to compare: {few}."


def test_the_tables_show_each_comparison() -> None:
    document = decide(arm_answers(gains(), arms=("base", "spelling", "control")), VerdictSettings()).document()
    frame = gates_table(document).frame
    assert frame["gate"].tolist() == [
        "arms",
        "treatment spelling",
        "treatment spelling",
        "ceiling position",
        "ceiling count",
    ]
    assert frame["compared"].iloc[-1] == "missing: direct arm (count)"
    secondary = secondary_table(document)
    assert secondary is not None
    assert set(secondary.frame["task"]) == {"spelling", "position", "count"}
    assert ": 5% of the rows called up or down may be chance" in str(secondary.caption)
    assert ": 10% of the rows" in str(secondary_table({**document, "confidence": 0.9}).caption)  # type: ignore[union-attr]
    assert secondary_table({**document, "secondary": []}) is None


def test_the_families_are_those_of_all_tasks_together() -> None:
    rows = [
        {"measure": "exact_match", "group": "all", "task": task, "n": 60, "families": 60}
        for task in ("spelling", "position", "count")
    ]
    verdict = decide(arm_answers(gains()), VerdictSettings()).document()
    score = {"measure": "transfer_score", "group": "focus", "task": "all", "n": 180, "families": 84}
    assert " on words of 84 families " in describe_done(verdict, pd.DataFrame([*rows, score]))
    assert " on words of 60 families " in describe_done(verdict, pd.DataFrame(rows))
    assert describe_done(verdict, pd.DataFrame(rows)).endswith(" Intervals, in parentheses, are at 95%.")
