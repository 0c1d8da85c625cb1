from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats
from tests.samples.studies import Material

from spelling_transfer.models.folder import ModelFolder
from spelling_transfer.statistics.scores import SCORED_TASKS, transfer_score
from spelling_transfer.study.config import AnalysisSettings, StudySettings, TrialConfig
from spelling_transfer.study.confirm import Retraining, confirm, new_seeds, typical_run

GainedMarks = Callable[..., pd.DataFrame]
STUDY = StudySettings(space={"lora.r": {"values": [4]}})
RECOMMENDED = {
    "trial": 3,
    "selection_score": 0.6,
    "transfer_score": 0.5,
    "config": TrialConfig().model_dump(mode="json"),
}


def confirmed(marks: pd.DataFrame, control: pd.DataFrame) -> dict[str, Any]:
    shares = marks.groupby(["number", "task"])["exact"].mean().unstack()[list(SCORED_TASKS)].reset_index()
    runs = shares.rename(columns={"number": "seed"}).assign(steps=60, loss=0.1)
    runs["transfer_score"] = transfer_score(runs["spelling"], runs["position"], runs["count"])
    runs["selection_score"] = runs["spelling"]
    return confirm(RECOMMENDED, runs, marks, control, STUDY, AnalysisSettings(n_resamples=499))


def test_new_seeds_are_new_and_the_middle_run_is_kept() -> None:
    assert new_seeds(pd.DataFrame({"seed": [7, 5, 6]}), 3) == [8, 9, 10]
    runs = pd.DataFrame({"seed": [8, 9, 10], "selection_score": [0.5, 0.1, 0.3]})
    assert typical_run(runs) == 10
    assert typical_run(runs.iloc[:2]) == 9
    assert typical_run(runs.iloc[:1]) == 8


def test_the_mean_over_seeds_has_intervals_over_words_and_over_seeds(gained_marks: GainedMarks) -> None:
    marks = gained_marks([40, 41, 42], [{"spelling": gain, "position": gain} for gain in (0.1, 0.3, 0.2)])
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


def config(seed: int) -> TrialConfig:
    return TrialConfig().varied({"training.seed": seed})


def seed_in(adapter: ModelFolder) -> int:
    return json.loads((adapter.path / "adapter.txt").read_text())[1]


def test_what_is_there_is_not_trained_again(tmp_path: Path) -> None:
    material = Material()
    first, outcome = Retraining(material, tmp_path).run(config(1))
    again, found = Retraining(material, tmp_path).run(config(1))
    assert material.trained == [1]
    assert again.path == first.path
    assert seed_in(again) == 1
    assert found == outcome
    assert (found.final_loss, found.steps, found.verdict) == (0.5, 50, "complete")


def test_machines_that_train_together_take_nothing_over_and_leave_each_other_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spelling_transfer.study.confirm.machine_count", lambda: 2)
    material, paths = Material(), set[Path]()
    for rank in ("0", "1", "0"):
        monkeypatch.setenv("NODE_RANK", rank)
        paths.add(Retraining(material, tmp_path).run(config(1))[0].path)
    assert material.trained == [1, 1, 1]
    assert len(paths) == 2


def test_another_configuration_other_data_or_other_points_of_the_curve_are_another_run(tmp_path: Path) -> None:
    material, others = Material(), [Material("other words"), Material(evaluate_every=10)]
    paths = {Retraining(material, tmp_path).run(config(seed))[0].path for seed in (1, 2)}
    paths |= {Retraining(other, tmp_path).run(config(1))[0].path for other in others}
    assert len(paths) == 4
    assert [each.trained for each in (material, *others)] == [[1, 2], [1], [1]]


def test_a_run_that_was_cut_short_or_altered_is_trained_again(tmp_path: Path) -> None:
    material = Material()
    material.fails = {"spelling": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        Retraining(material, tmp_path).run(config(1))
    material.fails = {}
    adapter, _ = Retraining(material, tmp_path).run(config(1))
    assert material.trained == [1, 1]
    (adapter.path / "adapter.txt").write_text("altered")
    adapter, _ = Retraining(material, tmp_path).run(config(1))
    assert material.trained == [1, 1, 1]
    assert seed_in(adapter) == 1
