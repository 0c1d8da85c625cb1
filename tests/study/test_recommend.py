from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from spelling_transfer.study.config import AnalysisSettings, StudySettings, TrialConfig
from spelling_transfer.study.interfaces import StudyError
from spelling_transfer.study.recommend import next_study, recommend

MakeStudy = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
SPACE: dict[str, Any] = {
    "lora.r": {"values": [4, 8, 16, 32]},
    "training.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
}


def recommended(trials: pd.DataFrame, marks: pd.DataFrame, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"n_trials": len(trials), "sampler": "random", "space": SPACE, **changes}
    study = StudySettings.model_validate(settings)
    return recommend(trials, marks, study.space, study, TrialConfig(), AnalysisSettings(n_resamples=499))


def test_the_best_is_given_in_full_with_its_interval(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.1}, {"spelling": 0.4, "position": 0.3}, {"spelling": 0.2}])
    found = recommended(trials, marks)
    assert found["trial"] == 1
    assert found["selection_score"] == trials["selection_score"][1]
    low, high = found["interval"]
    assert low < found["selection_score"] < high
    config = TrialConfig.model_validate(found["config"])
    assert (config.lora.r, config.training.learning_rate, config.training.seed) == (8, 2e-4, 1)
    assert found["choices"] == {"lora.r": 8, "training.learning_rate": 2e-4}
    assert found["cost"] == {"steps": 60, "examples": 60 * 8 * 4}
    assert found["runner_up_selection_score"] == trials["selection_score"].drop(1).max()


def test_a_best_trial_without_an_error_is_no_certainty(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.1}, {"spelling": 0.4}], families=100)
    marks.loc[(marks["number"] == 1) & (marks["task"] == "spelling"), "exact"] = True
    trials.loc[1, ["spelling", "selection_score"]] = 1.0
    found = recommended(trials, marks)
    assert found["selection_score"] == 1.0
    # Wilson's interval of 100 of 100: its lower end is 100 / (100 + 1.96²).
    assert found["interval"] == pytest.approx([100 / (100 + 1.959964**2), 1.0])


def test_those_that_cannot_be_told_from_it_are_named_and_the_cheapest_of_them(make_study: MakeStudy) -> None:
    # Trial 1 is nearly as good as trial 2 and takes a third of its steps; trial 0 is surely worse.
    gains = [{"spelling": 0.0}, {"spelling": 0.39}, {"spelling": 0.4}]
    trials, marks = make_study(gains, steps=[60, 30, 90])
    found = recommended(trials, marks)
    assert found["trial"] == 2
    assert [row["trial"] for row in found["equivalent"]] == [1]
    low, high = found["equivalent"][0]["difference_interval"]
    assert low <= 0 <= high
    assert found["cheapest"]["trial"] == 1
    assert found["cheapest"]["cost"]["steps"] == 30


def test_pruned_and_failed_trials_are_never_recommended(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.5}, {"spelling": 0.1}, {"spelling": 0.6}])
    trials["state"] = ["pruned", "complete", "failed"]
    found = recommended(trials, marks)
    assert found["trial"] == 1
    assert found["finished"] == 1
    assert found["equivalent"] == []
    assert found["runner_up_selection_score"] is None
    with pytest.raises(StudyError, match=r"no trial was completed \(1 pruned, 1 failed\)"):
        recommended(trials[trials["number"] != 1], marks)


def test_few_chosen_trials_and_the_best_of_many_are_warned_of(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.1}, {"spelling": 0.2}])
    warnings = " ".join(recommended(trials, marks, sampler="cmaes")["warnings"])
    for part in ("too few", "cmaes sampler", "best of 2 scores on the same questions is too high by chance"):
        assert part in warnings


def test_a_best_value_at_the_end_of_the_space_asks_for_more_beyond(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.02 * number} for number in range(24)])
    space = {"lora.r": {"values": [4, 8, 16, 32]}, "training.learning_rate": {"low": 1e-4, "high": 2.4e-3, "log": True}}
    found = recommended(trials, marks, space=space)["next_study"]
    assert found["study"]["space"]["lora.r"]["values"] == [4, 8, 16, 32, 64]
    wider = found["study"]["space"]["training.learning_rate"]
    assert wider["low"] == 1e-4
    assert 2.4e-3 < wider["high"] <= 1e-2  # as high as the setting allows
    assert StudySettings.model_validate({"name": "x", **found["study"]})
    assert any("lora.r (32) is at the upper end" in reason for reason in found["reasons"])


def test_trials_that_look_alike_ask_for_more_words_and_few_for_more_trials(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.3}, {"spelling": 0.29}], families=100)
    space = {"training.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}}
    found = recommended(trials, marks, validation_words=100, space=space)["next_study"]
    assert 100 < found["study"]["validation_words"] <= 1_000
    assert any("would distinguish half of them" in reason for reason in found["reasons"])
    assert (found["study"]["n_trials"], found["study"]["sampler"]) == (20, "random")
    found = recommended(trials, marks, validation_words=1_000, space=space)["next_study"]
    assert any("on 100 validation words, which are all there are" in reason for reason in found["reasons"])
    assert "validation_words" not in found["study"]
    # A difference that needs more than a study may ask for is none to act upon.
    alike = [{"difference": 0.01, "difference_interval": [-0.1, 0.1]}]
    best, study = {"choices": {}}, StudySettings(name="x", space=space)
    found = next_study([best, best], alike, asked=1_000, study=study, search_space={}, defaults=TrialConfig())
    assert "it would take about 100,000, so which is best stays open" in found["reasons"][0]
    assert "validation_words" not in found["study"]


def test_trials_that_score_the_same_are_not_distinguished_by_more_words(make_study: MakeStudy) -> None:
    # Of three trials that are not clearly worse two score the same as the best, so no number of words tells half apart.
    trials, marks = make_study([{"spelling": 0.3}, {"spelling": 0.3}, {"spelling": 0.3}, {"spelling": 0.29}])
    best = marks[marks["number"] == 0]["exact"].to_numpy()
    for number in (1, 2):
        marks.loc[marks["number"] == number, "exact"] = best
    trials.loc[[1, 2], ["spelling", "selection_score"]] = trials.loc[0, ["spelling", "selection_score"]].to_numpy()
    found = recommended(trials, marks, validation_words=100)
    assert [(row["trial"], row["difference"] == 0) for row in found["equivalent"]] == [(1, True), (2, True), (3, False)]
    assert "validation_words" not in found["next_study"]["study"]
    assert any("half of these or more score just what it does" in reason for reason in found["next_study"]["reasons"])


def test_a_study_without_marks_still_recommends_and_tells_nothing_apart(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.0}, {"spelling": 0.5}])
    found = recommended(trials, marks.iloc[:0])
    assert found["trial"] == 1
    assert found["interval"] is None
    assert [row["trial"] for row in found["equivalent"]] == [0]
