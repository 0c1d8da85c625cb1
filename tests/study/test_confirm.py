from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.statistics.scores import SCORED_TASKS, transfer_score
from spelling_transfer.study.config import StudySettings, TrialConfig
from spelling_transfer.study.confirm import confirm, control_examples, new_seeds, typical_run

GainedMarks = Callable[..., pd.DataFrame]
STUDY = StudySettings(space={"lora.r": {"values": [4]}})
RECOMMENDED = {"trial": 3, "transfer_score": 0.5, "config": TrialConfig().model_dump(mode="json")}


def confirmed(marks: pd.DataFrame, control: pd.DataFrame) -> dict[str, Any]:
    shares = marks.groupby(["number", "task"])["exact"].mean().unstack()[list(SCORED_TASKS)].reset_index()
    runs = shares.rename(columns={"number": "seed"}).assign(steps=60, loss=0.1)
    runs["transfer_score"] = transfer_score(runs["spelling"], runs["position"], runs["count"])
    return confirm(RECOMMENDED, runs, marks, control, study=STUDY, bootstrap=Bootstrap(n_resamples=499))


def test_new_seeds_are_new_and_the_middle_run_is_kept() -> None:
    assert new_seeds(pd.DataFrame({"seed": [7, 5, 6]}), 3) == [8, 9, 10]
    runs = pd.DataFrame({"seed": [8, 9, 10], "transfer_score": [0.5, 0.1, 0.3]})
    assert typical_run(runs) == 10
    assert typical_run(runs.iloc[:2]) == 9
    assert typical_run(runs.iloc[:1]) == 8


def test_the_mean_over_seeds_has_intervals_over_words_and_over_seeds(gained_marks: GainedMarks) -> None:
    marks = gained_marks([40, 41, 42], [{"position": 0.1}, {"position": 0.3}, {"position": 0.2}])
    found = confirmed(marks, marks.iloc[:0])
    seen = found["confirmation"]
    scores = [
        transfer_score(*(float(rows[rows["task"] == task]["exact"].mean()) for task in SCORED_TASKS))
        for _, rows in marks.groupby("number")
    ]
    assert seen["mean"] == pytest.approx(sum(scores) / 3)
    assert seen["interval_over_words"][0] < seen["mean"] < seen["interval_over_words"][1]
    expected = stats.t.interval(0.95, 2, loc=seen["mean"], scale=stats.sem(scores))
    assert seen["interval_over_seeds"] == pytest.approx(expected)
    assert seen["optimism"] == pytest.approx(0.5 - seen["mean"])
    assert seen["gain_interval"][0] > 0
    assert seen["control"] == []
    assert found["config"]["training"]["seed"] == seen["kept_seed"] == 42
    assert TrialConfig.model_validate(found["config"])


def test_one_seed_has_no_interval_over_seeds(gained_marks: GainedMarks) -> None:
    seen = confirmed(gained_marks([9], [{"position": 0.1}]), pd.DataFrame())["confirmation"]
    assert seen["interval_over_seeds"] is None
    assert seen["interval_over_words"] is not None


def test_what_the_control_gains_as_well_is_taken_off(gained_marks: GainedMarks) -> None:
    # Position gains the same with and without knowledge of spelling; count gains with it alone.
    marks = gained_marks([9], [{"spelling": 0.4, "position": 0.3, "count": 0.2}], same_luck=True)
    control = gained_marks([9], [{"spelling": -0.2, "position": 0.3}], same_luck=True)
    rows = {row["measure"]: row for row in confirmed(marks, control)["confirmation"]["control"]}
    assert rows["position"]["difference"] == 0
    assert not rows["position"]["excludes_zero"]
    assert rows["count"]["excludes_zero"]
    assert rows["count"]["interval"][0] > 0
    right, other = (frame[frame["task"] == "spelling"]["exact"].mean() for frame in (marks, control))
    assert rows["spelling"]["difference"] == pytest.approx(right - other)
    assert rows["transfer_score"]["difference"] > 0


def test_control_examples_take_the_place_of_every_spelling_that_is_trained() -> None:
    rows = [
        ("spelling-1", "spelling", "real", "train", True),
        ("spelling-2", "spelling", "pool", "train", False),
        ("position-1", "position", "pool", "train", False),
        ("control-spelling-1", "spelling", "control", "train", True),
        ("spelling-9", "spelling", "real", "validation", False),
    ]
    encoded = pd.DataFrame(rows, columns=["example_id", "task", "kind", "split", "augmented"])
    plain = TrialConfig().varied({"spelling.spelling_augmentation": False})
    for config in (TrialConfig(), plain):
        found = control_examples(encoded, config)
        assert sorted(found["example_id"]) == ["control-spelling-1", "position-1", "spelling-9"]
        control = found[found["example_id"] == "control-spelling-1"].iloc[0]
        assert control["kind"] == "real"
        assert control["augmented"] == config.spelling.spelling_augmentation
