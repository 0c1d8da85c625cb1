from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.study.config import AnalysisSettings
from spelling_transfer.study.correctness import resample_correctness
from spelling_transfer.study.findings import analyse_transfer, find_patterns, measure_changes, rate_settings
from spelling_transfer.study.interfaces import Evaluation

MakeStudy = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
BASE = Evaluation(0, 0.3, 0.2, 0.4)


def curves_of(trials: pd.DataFrame) -> pd.DataFrame:
    """A curve that goes straight from the base to where the trial ends, in two steps."""
    rows = []
    for trial in trials.to_dict("records"):
        for share in (0.5, 1.0):
            scores = {
                task: getattr(BASE, task) + share * (trial[task] - getattr(BASE, task))
                for task in ("spelling", "position", "count")
            }
            rows.append({"number": trial["number"], "step": int(share * trial["steps"]), **scores})
    return pd.DataFrame(rows)


def analysed(trials: pd.DataFrame, sampler: str = "random") -> dict:
    return analyse_transfer(
        trials, curves_of(trials), BASE, sampler=sampler, startup_trials=10, bootstrap=Bootstrap(n_resamples=299)
    )


def test_changes_have_gains_gaps_and_ratios_with_intervals(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.3, "position": 0.15, "count": -0.1}], families=400)
    rows = measure_changes(trials, resample_correctness(marks, Bootstrap(n_resamples=1_999))).set_index("task")
    for task in ("spelling", "position", "count"):
        right, base = (marks[marks["task"] == task][name].mean() for name in ("exact", "base"))
        assert rows.loc[task, "gain"] == pytest.approx(right - base)
        assert rows.loc[task, "gap_closed"] == pytest.approx((right - base) / (1 - base))
        assert rows.loc[task, "low"] < rows.loc[task, "gain"] < rows.loc[task, "high"]
    assert rows["verdict"].tolist() == ["up", "up", "down"]
    assert rows.loc["position", "ratio"] == pytest.approx(rows.loc["position", "gain"] / rows.loc["spelling", "gain"])
    assert 0 < rows.loc["position", "ratio_low"] < rows.loc["position", "ratio"] < rows.loc["position", "ratio_high"]
    assert np.isnan(rows.loc["spelling", "ratio"])


@pytest.mark.parametrize(("spelling", "verdict"), [(0.003, "unclear"), (-0.2, "down")])
def test_there_is_no_ratio_to_a_spelling_gain_that_may_be_nothing_or_is_a_loss(
    spelling: float, verdict: str, make_study: MakeStudy
) -> None:
    trials, marks = make_study([{"spelling": spelling, "position": 0.2}])
    rows = measure_changes(trials, resample_correctness(marks, Bootstrap(n_resamples=1_999))).set_index("task")
    assert rows.loc["spelling", "verdict"] == verdict
    assert rows.loc["position", "verdict"] == "up"
    assert rows["ratio"].isna().all()
    assert rows["ratio_low"].isna().all()


def test_gains_that_go_together_are_seen_and_what_steps_explain_is_not(make_study: MakeStudy) -> None:
    rng = np.random.default_rng(0)
    steps = [20, 60, 120, 240] * 10
    luck = rng.uniform(0, 0.1, (40, 2))
    together = [
        {"spelling": 0.1 + step / 500 + first, "position": 0.05 + step / 1000 + second}
        for step, (first, second) in zip(steps, luck, strict=True)
    ]
    trials, _ = make_study(together, families=2_000, steps=steps)
    found = analysed(trials)["over_trials"]["position"]
    assert found["spearman"]["n"] == 40
    assert found["spearman"]["low"] > 0.5
    assert found["partial_given_steps"]["low"] < 0 < found["partial_given_steps"]["high"]


def test_within_trials_counts_changes_between_evaluations(make_study: MakeStudy) -> None:
    trials, _ = make_study(
        [{"spelling": 0.02 * number, "position": 0.01 * number} for number in range(1, 13)], families=1_000
    )
    found = analysed(trials)
    assert found["within_trials"]["position"]["n"] == 24
    assert found["within_trials"]["position"]["rho"] > 0.5
    assert found["evaluations"] == 24


def test_few_chosen_pruned_and_failed_trials_are_warned_of(make_study: MakeStudy) -> None:
    trials, _ = make_study([{"spelling": 0.02 * number} for number in range(1, 23)])
    assert analysed(trials)["warnings"] == []
    few = trials.head(5).copy()
    few["state"] = ["complete", "stopped", "pruned", "failed", "complete"]
    few.loc[3, ["spelling", "position", "count", "transfer_score", "selection_score"]] = np.nan
    warnings = " ".join(analysed(few, sampler="cmaes")["warnings"])
    for part in (
        "3 finished trials: too few",
        "cmaes sampler chose later trials",
        "1 pruned trial was",
        "1 trial failed",
    ):
        assert part in warnings
    # The first ten of TPE are drawn at random.
    assert "sampler" not in " ".join(analysed(few, sampler="tpe")["warnings"])
    assert "tpe sampler chose later trials" in " ".join(analysed(trials, sampler="tpe")["warnings"])
    assert analysed(few)["over_trials"]["position"]["spearman"]["n"] == 3
    assert analysed(few)["over_trials"]["position"]["spearman"]["low"] is None


def patterns(trials: pd.DataFrame, marks: pd.DataFrame) -> pd.DataFrame:
    base = {str(task): float(share) for task, share in marks.groupby("task")["base"].mean().items()}
    return find_patterns(trials, marks, base, Bootstrap(n_resamples=499))


def test_gains_by_setting_are_means_over_its_trials(make_study: MakeStudy) -> None:
    gains = [{"spelling": 0.1 * (1 + number % 4), "position": 0.05} for number in range(12)]  # rises with the rank
    trials, marks = make_study(gains)
    trials["spelling"] += 0.01 * (trials["number"] // 4)
    found = patterns(trials, marks)
    ranks = found[(found["name"] == "lora.r") & (found["task"] == "spelling")]
    assert ranks["value"].tolist() == ["4", "8", "16", "32"]
    assert ranks["trials"].tolist() == [3, 3, 3, 3]
    base = marks[marks["task"] == "spelling"]["base"].mean()
    expected = [trials[trials["lora.r"] == rank]["spelling"].mean() - base for rank in (4, 8, 16, 32)]
    assert ranks["gain"].tolist() == pytest.approx(expected)
    gained = trials[trials["lora.r"] == 4]["spelling"] - base
    half = 4.302653 * gained.std() / 3**0.5  # Student's with two degrees of freedom
    assert ranks[["low", "high"]].iloc[0].tolist() == pytest.approx([gained.mean() - half, gained.mean() + half])
    rates = found[(found["name"] == "training.learning_rate") & (found["task"] == "count")]
    assert rates["value"].tolist() == ["0.0001 to 0.0004", "0.0005 to 0.0008", "0.0009 to 0.0012"]


def test_what_helps_hard_words_alone_shows_by_difficulty(make_study: MakeStudy) -> None:
    trials, marks = make_study([{}, {}], families=300)
    hard = (marks["difficulty"] == "hard") & (marks["task"] == "spelling") & (marks["n_tokens"] > 1)
    marks["exact"] |= hard & (np.arange(len(marks)) % 2 == 0)
    found = patterns(trials, marks).set_index(["pattern", "value", "task"])
    assert found.loc[("difficulty", "hard", "spelling"), "low"] > 0.1
    assert found.loc[("difficulty", "easy", "spelling"), "gain"] == 0
    assert found.loc[("tokens", "1", "spelling"), "gain"] == 0
    assert found.loc[("tokens", "4+", "spelling"), "gain"] > 0
    assert found.loc[("difficulty", "hard", "position"), "gain"] == 0
    assert found.loc[("difficulty", "hard", "spelling"), "questions"] == 100
    assert found.loc[("tokens", "4+", "spelling"), "questions"] == 120  # words of four and of five tokens


def test_values_that_are_close_have_labels_of_their_own_and_steps_are_whole_numbers(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.1}] * 4)
    trials["steps"], trials["training.learning_rate"] = [5000, 500, 1000, 2000], [0.001004, 0.001001, 0.1, 0.001]
    settings = patterns(trials, marks).query("pattern == 'setting'")
    named = settings.groupby("name")["value"].unique().map(list).to_dict()
    assert named["training.learning_rate"] == ["0.001", "0.001001", "0.001004", "0.1"]


def test_one_trial_has_patterns_of_questions_and_none_of_settings(make_study: MakeStudy) -> None:
    found = patterns(*make_study([{"spelling": 0.2}]))
    assert set(found["pattern"]) == {"difficulty", "tokens"}
    assert found["low"].notna().any()


def test_few_trials_have_a_mean_and_no_interval(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.2}, {"spelling": 0.3}])
    settings = patterns(trials, marks).query("pattern == 'setting'")
    assert settings["gain"].notna().all()
    assert settings["low"].isna().all()


def test_trials_with_one_and_the_same_gain_have_no_interval(make_study: MakeStudy) -> None:
    found = patterns(*make_study([{"spelling": 0.1 * (1 + number % 4)} for number in range(12)]))
    ranks = found.query("name == 'lora.r' and task == 'count'")
    assert ranks["trials"].tolist() == [3, 3, 3, 3]
    assert ranks[["low", "high"]].isna().all(axis=None)


def test_importance_is_rated_on_the_finished_trials_and_on_the_settings_all_of_them_have(make_study: MakeStudy) -> None:
    trials, _ = make_study([{"spelling": 0.02 * number} for number in range(12)])
    analysis = AnalysisSettings(importance_seeds=2)
    found = rate_settings(trials, {}, analysis)
    assert set(found["setting"]) == {"lora.r", "training.learning_rate"}
    hopeless = trials.assign(number=trials["number"] + 12, state="pruned", selection_score=-9.0)
    some = pd.concat([trials.assign(**{"lora.alpha": [8, None] * 6}), hopeless])
    pd.testing.assert_frame_equal(rate_settings(some, {}, analysis), found)
    assert rate_settings(trials.assign(state="failed", selection_score=np.nan), {}, analysis).empty
