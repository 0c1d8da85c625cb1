from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

from spelling_transfer.pages.documents import write_study_document
from spelling_transfer.pages.findings import (
    describe_best,
    describe_change,
    describe_comparison,
    describe_confirmation,
    describe_control,
    describe_endpoint,
    describe_ratios,
    describe_training,
)
from spelling_transfer.study.findings import StudyFindings


def _row(task: str, before: float, after: float, low: float, high: float, n: int = 600) -> dict[str, object]:
    verdict = "up" if low > 0 else "down" if high < 0 else "unclear"
    return {
        "measure": "exact_match", "group": "all", "value": "all", "task": task, "n": n, "verdict": verdict,
        "reference_score": before, "arm_score": after, "difference": after - before, "low": low, "high": high,
    }  # fmt: skip


SPELLING_UP = _row("spelling", 0.532, 0.79, 0.219, 0.296)
POSITION_SAME = _row("position", 0.3, 0.29, -0.04, 0.021)
POSITION_UP = _row("position", 0.3, 0.4, 0.05, 0.151)
SAME = "shows no clear change: from 30.0% to 29.0% of 600 questions, −1.0 points"
COUNT_DOWN = _row("count", 0.57, 0.5, -0.11, -0.03)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (SPELLING_UP, "Spelling rose from 53.2% to 79.0% of 600 questions: +25.8 points (95% interval +21.9 to +29.6)"),
        (COUNT_DOWN, "Count fell from 57.0% to 50.0% of 600 questions: −7.0 points (95% interval −11.0 to −3.0)"),
        (POSITION_SAME, f"Position {SAME} (95% interval −4.0 to +2.1)"),
        ({**POSITION_SAME, "low": float("nan")}, f"Position {SAME} (no interval)"),
    ],
)
def test_a_change_is_said_in_either_direction_with_both_scores_and_the_interval(
    row: dict[str, object], said: str
) -> None:
    assert describe_change(pd.Series(row), confidence=0.95) == f"{said}."


def test_tasks_that_were_only_asked_share_a_sentence() -> None:
    others = [
        _row("reverse", 0.0, 0.1, 0.02, 0.2),
        _row("length", 0.1, 0.1, -0.1, 0.1),
        _row("contains", 0.5, 0.5, -0.1, 0.1),
    ]
    sentences = describe_comparison(pd.DataFrame([*others, POSITION_SAME, SPELLING_UP]), confidence=0.95)
    assert [sentence.split()[0] for sentence in sentences[1:3]] == ["Spelling", "Position"]
    assert sentences[3] == "Of the other tasks, reverse improved; length and contains show no clear change."


def test_the_transfer_score_is_described_with_its_focus() -> None:
    score = {
        "measure": "transfer_score", "group": "focus", "value": "balanced", "task": "all", "verdict": "unclear",
        "reference_score": 0.5, "arm_score": 0.49, "difference": -0.01, "low": -0.03, "high": 0.012, "n": 1800,
    }  # fmt: skip
    sentences = describe_comparison(pd.DataFrame([SPELLING_UP, score]), confidence=0.9)
    assert sentences[2] == (
        "The transfer score (balanced focus) shows no clear change: from 50.0% to 49.0%, −1.0 points "
        "(90% interval −3.0 to +1.2)."
    )
    assert len(sentences) == 3
    assert "no verdict yet" in sentences[0]


def test_the_ratio_is_said_with_its_interval_where_there_is_one() -> None:
    ratio = {
        "measure": "transfer_ratio",
        "group": "all",
        "task": "position",
        "difference": 0.4,
        "low": -0.1,
        "high": 0.9,
    }
    comparison = pd.DataFrame([SPELLING_UP, POSITION_SAME])
    control = pd.DataFrame([SPELLING_UP, POSITION_SAME, ratio])
    said = "For each point of spelling gained over the form control: position +0.40 (−0.10 to +0.90) points."
    assert said in describe_comparison(comparison, control, confidence=0.95)
    assert "For each point" not in " ".join(describe_comparison(comparison, control.iloc[:2], confidence=0.95))


@pytest.mark.parametrize(
    ("against_control", "against_base", "said"),
    [
        ([0.02, 0.1], [0.01, 0.09], "position did better than form alone explains"),
        ([0.02, 0.1], [-0.01, 0.09], "But position is not clearly above the base, so no transfer is claimed"),
        ([-0.02, 0.1], [0.01, 0.09], "So no transfer is claimed"),
    ],
)
def test_transfer_is_spoken_of_only_above_the_control_arm_and_the_base_model(
    study_findings: Callable[..., StudyFindings], against_control: list[float], against_base: list[float], said: str
) -> None:
    found = study_findings(3)
    row = {"control": 0.2, "difference": 0.06, "interval": against_control, "excludes_zero": against_control[0] > 0}
    other = {"control": 0.2, "difference": 0.0, "interval": [-0.1, 0.1], "excludes_zero": False}
    measures = {"spelling": row, "position": row, "count": other, "transfer_score": row}
    confirmation = {
        **found.confirmation,
        "control": [{"measure": name, **values} for name, values in measures.items()],
        "task_gains": {"spelling": [0.1, 0.2], "position": against_base, "count": [-0.1, 0.1]},
    }
    changed = replace(found, best={**found.best, "confirmation": confirmation})
    several = replace(found, best={**found.best, "confirmation": {**confirmation, "seeds": [3, 4], "kept_seed": 4}})
    assert "Compared with the form control of seed 4, which had" in describe_control(several)
    for words in (describe_control(changed), write_study_document(changed)):
        assert said in words
        assert ("did better than form alone explains" in words) == ("did better" in said)


def test_trials_without_an_interval_of_their_difference_are_not_said_to_have_one(
    study_findings: Callable[..., StudyFindings],
) -> None:
    found = study_findings(3)
    other = {"trial": 1, "selection_score": 0.4, "difference": -0.1, "cost": found.best["cost"]}
    for interval, said in (([-0.3, 0.1], "the interval of the difference"), (None, "there are too few word families")):
        equivalent = [{**other, "difference_interval": interval}]
        changed = replace(found, best={**found.best, "equivalent": equivalent, "cheapest": found.best})
        assert f"cannot be distinguished from it (1): {said}" in describe_best(changed)


def test_why_a_trial_has_no_transfer_ratio_is_said(study_findings: Callable[..., StudyFindings]) -> None:
    found = study_findings(3)
    without = found.changes.assign(ratio=float("nan"))
    assert "the interval of its spelling gain is not above zero" in describe_ratios(replace(found, changes=without))
    few = without.assign(low=float("nan"), high=float("nan"))
    assert "its spelling gain has no interval (fewer than 30 word families)" in describe_ratios(
        replace(found, changes=few)
    )


def test_what_was_trained_names_the_settings_that_were_searched() -> None:
    trials = pd.DataFrame({"number": [0, 1], "lora.r": [4, 8], "training.learning_rate": [1e-3, 2e-3]})
    best = {"config": {"lora": {"r": 8}, "training": {"learning_rate": 2e-3}}, "confirmation": {"seeds": [7]}}
    assert describe_training("tiny", trials, best) == (
        "tiny with LoRA, best of 2 trials, 1 new seed: r 8, learning_rate 0.002"
    )
    assert describe_training("tiny", None, best) == "tiny with LoRA"
    assert describe_training("tiny", trials[["number"]], {}) == "tiny with LoRA, best of 2 trials"
    assert describe_training("tiny", trials[["number"]].head(1), {}) == "tiny with LoRA, one trial"


def test_an_endpoint_that_fails_names_its_first_checks() -> None:
    checks = [{"id": f"refuses/{i}", "passed": i == 0} for i in range(6)]
    assert describe_endpoint({"checks": checks[:1]}) == "passed all 1 checks of non-thinking mode"
    assert describe_endpoint({"checks": checks}) == (
        "FAILED 5 of 6 checks of non-thinking mode (refuses/1, refuses/2, refuses/3 and 2 more)"
    )


def test_seeds_that_score_the_same_have_no_interval(study_findings: Callable[..., StudyFindings]) -> None:
    found = study_findings(3)
    confirmation = {**found.confirmation, "seeds": [3, 4, 5], "interval_over_seeds": None}
    said = describe_confirmation(replace(found, best={**found.best, "confirmation": confirmation}))
    assert ", the same with each; the selected trial had" in said
