from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.statistics.intervals import gap_closed, gap_closed_interval, paired_difference
from spelling_transfer.statistics.resampling import ratio_interval, resample_marks
from spelling_transfer.statistics.scores import SCORED_TASKS, compare_transfer_scores, transfer_score

MakeStudy = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def test_values_are_the_shares_and_their_functions(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.2}, {"spelling": 0.4, "position": 0.1}])
    found = resample_marks(marks)
    assert found.numbers == [0, 1]
    assert found.trials.value == pytest.approx(trials[list(SCORED_TASKS)].to_numpy())
    base = marks[marks["number"] == 0].groupby("task")["base"].mean()
    assert found.base.value == pytest.approx(base[list(SCORED_TASKS)].to_numpy())
    assert found.gaps_closed().value[1, 0] == pytest.approx(gap_closed(base["spelling"], trials["spelling"][1]))
    gains = found.gains().value[1]
    assert found.ratios().value[1] == pytest.approx(gains / gains[0])
    assert found.transfer_scores("transfer").value[1] == pytest.approx(
        transfer_score(*trials.loc[1, list(SCORED_TASKS)], "transfer")
    )


def test_intervals_agree_with_those_of_the_evaluation(make_study: MakeStudy) -> None:
    _, marks = make_study([{"spelling": 0.3, "position": 0.1, "count": -0.05}], families=300)
    found = resample_marks(marks, n_resamples=9_999)
    for place, task in enumerate(SCORED_TASKS):
        rows = marks[marks["task"] == task]
        answers = (rows["base"], rows["exact"], rows["stem"])
        # Quantiles of two sets of 9,999 resamples differ by a few thousandths.
        assert found.gains().interval(0, place) == pytest.approx(paired_difference(*answers).interval, abs=0.006)
        assert found.gaps_closed().interval(0, place) == pytest.approx(gap_closed_interval(*answers), abs=0.01)
    pairs = {task: rows.rename(columns={"base": "reference", "exact": "arm"}) for task, rows in marks.groupby("task")}
    expected = compare_transfer_scores(pairs)
    assert found.transfer_scores("balanced").interval(0) == pytest.approx(expected.arm_interval, abs=0.006)
    assert found.base_transfer_score("balanced").interval() == pytest.approx(expected.reference_interval, abs=0.006)


def test_trials_share_their_resamples(make_study: MakeStudy) -> None:
    # Two trials with the same answers differ by nothing in any resample, however wide their own intervals are.
    _, marks = make_study([{"spelling": 0.3}, {"spelling": 0.3}])
    scores = resample_marks(marks).transfer_scores("balanced")
    assert np.ptp(scores.resamples[:, 0]) > 0
    assert (scores.resamples[:, 0] == scores.resamples[:, 1]).all()


def test_a_family_may_lack_a_task_and_too_few_families_have_no_interval(make_study: MakeStudy) -> None:
    _, marks = make_study([{"spelling": 0.3}], families=60)
    part = pd.concat([marks[marks["task"] != "count"], marks[marks["task"] == "count"].iloc[:20]])
    found = resample_marks(part)
    assert found.families == 60
    assert found.trials.value[0, 2] == pytest.approx(part[part["task"] == "count"]["exact"].mean())
    few = resample_marks(make_study([{"spelling": 0.3}], families=29)[1])
    assert np.isnan(few.gains().interval(0, 0)).all()
    assert not few.gains().interval(0, 0).excludes(0)


def test_the_same_seed_gives_the_same_interval(make_study: MakeStudy) -> None:
    _, marks = make_study([{"spelling": 0.3}])
    shuffled = marks.sample(frac=1, random_state=1)
    assert resample_marks(marks).gains().interval(0, 0) == resample_marks(shuffled).gains().interval(0, 0)
    assert resample_marks(marks, seed=1).gains().interval(0, 0) != resample_marks(marks).gains().interval(0, 0)


def test_a_ratio_may_divide_by_nothing_in_the_tails_and_no_further() -> None:
    values = np.linspace(0, 1, 1_000)
    assert ratio_interval(values) == pytest.approx((0.025, 0.975), abs=0.002)
    rare = np.concatenate([values, [np.inf] * 10, [np.nan] * 10])
    assert ratio_interval(rare) == pytest.approx((0.025, 0.985), abs=0.005)
    assert np.isnan(ratio_interval(np.concatenate([values, [np.inf] * 60]))).all()
    assert np.isnan(ratio_interval(np.concatenate([values, [np.nan] * 60]))).all()
    assert np.isnan(ratio_interval(np.array([]))).all()
