import pandas as pd

from spelling_transfer.pages.findings import (
    claimed_tasks,
    describe_change,
    describe_comparison,
    describe_ratio,
    describe_transfer,
)


def _row(task: str, before: float, after: float, low: float, high: float, n: int = 600) -> dict[str, object]:
    verdict = "up" if low > 0 else "down" if high < 0 else "unclear"
    return {
        "measure": "exact_match", "group": "all", "value": "all", "task": task, "n": n, "verdict": verdict,
        "reference_score": before, "arm_score": after, "difference": after - before, "low": low, "high": high,
    }  # fmt: skip


SPELLING_UP = _row("spelling", 0.532, 0.79, 0.219, 0.296)
POSITION_SAME = _row("position", 0.3, 0.29, -0.04, 0.021)
POSITION_UP = _row("position", 0.3, 0.4, 0.05, 0.151)
COUNT_DOWN = _row("count", 0.57, 0.5, -0.11, -0.03)


def _sentence(row: dict[str, object]) -> str:
    return describe_change(pd.Series(row), confidence=0.95)


def test_a_rise_is_said_with_both_scores_and_the_interval() -> None:
    assert _sentence(SPELLING_UP) == (
        "Spelling moved up, from 53.2% to 79.0% of 600 questions: +25.8 (+21.9 to +29.6 points, 95% interval)."
    )


def test_a_fall_is_said_as_plainly() -> None:
    assert _sentence(COUNT_DOWN).startswith("Count moved down, from 57.0% to 50.0% of 600 questions: −7.0 (−11.0 to")


def test_an_interval_with_zero_is_no_movement() -> None:
    sentence = _sentence(POSITION_SAME)
    assert "cannot be said to have moved" in sentence
    assert "−4.0 to +2.1" in sentence
    assert "moved up" not in sentence
    assert "moved down" not in sentence


def test_transfer_is_never_claimed_without_a_control_arm() -> None:
    for rows in ([SPELLING_UP, POSITION_UP], [SPELLING_UP, POSITION_SAME], [SPELLING_UP, COUNT_DOWN]):
        assert "No claim of transfer is made here" in describe_transfer(pd.DataFrame(rows))


def test_what_went_up_or_down_beside_spelling_is_named() -> None:
    assert "Beside spelling, position went up. Count got worse." in describe_transfer(
        pd.DataFrame([SPELLING_UP, POSITION_UP, COUNT_DOWN])
    )
    assert "no other task measurably changed" in describe_transfer(pd.DataFrame([SPELLING_UP, POSITION_SAME]))


def test_tasks_that_were_only_asked_share_a_sentence() -> None:
    others = [
        _row("reverse", 0.0, 0.1, 0.02, 0.2),
        _row("length", 0.1, 0.1, -0.1, 0.1),
        _row("contains", 0.5, 0.5, -0.1, 0.1),
    ]
    sentences = describe_comparison(pd.DataFrame([*others, POSITION_SAME, SPELLING_UP]), confidence=0.95)
    assert [sentence.split()[0] for sentence in sentences[:2]] == ["Spelling", "Position"]
    assert sentences[2] == (
        "Of the tasks that were only asked, reverse moved up; length and contains cannot be said to have moved."
    )


def test_the_transfer_score_is_described_with_its_focus() -> None:
    score = {
        "measure": "transfer_score", "group": "focus", "value": "balanced", "task": "all", "verdict": "unclear",
        "reference_score": 0.5, "arm_score": 0.49, "difference": -0.01, "low": -0.03, "high": 0.012, "n": 1800,
    }  # fmt: skip
    sentences = describe_comparison(pd.DataFrame([SPELLING_UP, score]), confidence=0.9)
    assert sentences[1] == (
        "The transfer score (balanced focus) shows no sure change: from 0.500 to 0.490, −0.010 "
        "(90% interval −0.030 to +0.012)."
    )
    assert len(sentences) == 3


def test_transfer_is_claimed_only_above_both_the_control_arm_and_the_base_model() -> None:
    base = {
        "up": pd.DataFrame([SPELLING_UP, POSITION_UP]),
        "unclear": pd.DataFrame([SPELLING_UP, POSITION_SAME]),
    }
    above = pd.DataFrame([SPELLING_UP, _row("position", 0.3, 0.4, 0.02, 0.18)])
    same = pd.DataFrame([SPELLING_UP, _row("position", 0.39, 0.4, -0.03, 0.05)])
    below = pd.DataFrame([SPELLING_UP, _row("position", 0.5, 0.4, -0.15, -0.05)])
    assert claimed_tasks(base["up"], above) == ["position"]
    said = describe_transfer(base["up"], above)
    assert "position gained +10.0 points (+2.0 to +18.0) more than the control arm: spelling carried over to it" in said
    # The control arm got worse; the fine-tuned model did not get better.
    assert claimed_tasks(base["unclear"], above) == []
    assert "not surely above the base model: no claim" in describe_transfer(base["unclear"], above)
    # Form alone explains the rise.
    assert claimed_tasks(base["up"], same) == []
    assert "which holds zero: no claim" in describe_transfer(base["up"], same)
    assert "below the control arm" in describe_transfer(base["up"], below)
    for control in (same, below):
        assert "carried over" not in describe_transfer(base["up"], control)
    assert claimed_tasks(base["up"], None) == []


def test_the_ratio_is_said_with_its_interval_where_there_is_one() -> None:
    ratio = {
        "measure": "transfer_ratio",
        "group": "all",
        "task": "position",
        "difference": 0.4,
        "low": -0.1,
        "high": 0.9,
    }
    control = pd.DataFrame([SPELLING_UP, POSITION_SAME, ratio])
    assert describe_ratio(control).endswith("position +0.40 (−0.10 to +0.90) points.")
    assert describe_ratio(control.iloc[:2]) == ""
