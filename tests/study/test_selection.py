"""What a search selects by: never a trial because it did not learn to spell; the score of before did."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import FOCUS_WEIGHTS, FocusWeights, transfer_score
from spelling_transfer.study.config import AnalysisSettings, StudySettings, TrialConfig
from spelling_transfer.study.correctness import resample_correctness
from spelling_transfer.study.interfaces import Evaluation
from spelling_transfer.study.monitor import scored_row
from spelling_transfer.study.recommend import recommend
from spelling_transfer.study.selection import selection_resamples, selection_score

Score = Callable[[float, float, float], float]
SHARES = st.floats(0, 1)
WEIGHTS = st.sampled_from(list(FOCUS_WEIGHTS.values()))
BALANCED = FOCUS_WEIGHTS["balanced"]


def ranks_spelling(score: Score, spelling: float, better: float, position: float, count: float) -> bool:
    """Whether of two trials that are alike in all else the one that spells better is ranked above."""
    return score(better, position, count) > score(spelling, position, count)


@given(SHARES, SHARES, SHARES, SHARES, st.sampled_from(["spelling", "weighted"]), WEIGHTS)
@example(0.345, 0.465, 0.2, 0.2, "spelling", BALANCED)
def test_all_else_equal_better_spelling_is_ranked_higher(first, second, position, count, select_by, weights):
    low, high = sorted((first, second))
    assume(high - low > 1e-6)  # beyond what a sum of floats can lose

    def score(*scores: float) -> float:
        return selection_score(*scores, select_by, weights)

    assert ranks_spelling(score, low, high, position, count)


def test_the_transfer_score_ranks_them_alike_so_the_property_would_find_it():
    # As in a default run of before: position and count the same, spelling 34.5% against 46.5%.
    assert not ranks_spelling(lambda *scores: float(transfer_score(*scores)), 0.345, 0.465, 0.2, 0.2)


@given(SHARES, SHARES, SHARES, SHARES, SHARES, WEIGHTS)
def test_by_spelling_nothing_makes_up_for_not_learning(spelling, better, position, count, gain, weights):
    assume(better > spelling)
    learnt = selection_score(better, position, count, "spelling", weights)
    assert learnt > selection_score(spelling, position + gain, count + gain, "spelling", weights)


def test_the_transfer_score_prefers_a_trial_that_lost_its_spelling():
    # Where training on spelling costs count, it would keep the base model.
    learnt, lost = (0.26, 0.23, 0.16), (0.05, 0.32, 0.48)
    assert transfer_score(*lost) > transfer_score(*learnt)
    assert selection_score(*lost, "spelling", BALANCED) < selection_score(*learnt, "spelling", BALANCED)


def test_the_focus_sets_the_weights_of_the_sum():
    assert selection_score(0.5, 0.2, 0.4, "weighted", FocusWeights(0.3, 0.6)) == pytest.approx(0.5 + 0.06 + 0.24)
    assert selection_score(0.5, 0.2, 0.4, "spelling", FocusWeights(0.3, 0.6)) == 0.5


def test_a_study_records_both_scores_and_resamples_the_one_it_ranks_by(make_study):
    row = scored_row(Evaluation(10, 0.5, 0.2, 0.4), StudySettings(space={}, select_by="weighted"))
    assert row["selection_score"] == pytest.approx(0.8)
    assert row["transfer_score"] == pytest.approx(transfer_score(0.5, 0.2, 0.4))
    _, marks = make_study([{"spelling": 0.2}, {"position": 0.1}])
    resamples = resample_correctness(marks, Bootstrap(n_resamples=199))
    found = selection_resamples(resamples, "spelling", BALANCED)
    np.testing.assert_array_equal(found.value, resamples.trials.value[:, 0])
    assert found.resamples.shape == (199, 2)


def test_a_study_recommends_the_trial_that_spells(make_study):
    trials, marks = make_study([{"spelling": 0.3, "count": -0.3}, {"spelling": -0.2, "position": 0.1, "count": 0.1}])
    study = StudySettings(space={"lora.r": {"values": [4, 8]}}, sampler="random")

    def chosen(frame: pd.DataFrame) -> int:
        analysis = AnalysisSettings(n_resamples=199)
        return int(recommend(frame, marks, study.space, study, TrialConfig(), analysis)["trial"])

    assert chosen(trials) == 0
    assert chosen(trials.assign(selection_score=trials["transfer_score"])) == 1  # as it was chosen before
