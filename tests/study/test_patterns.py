from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from spelling_transfer.statistics.resampling import Bootstrap
from spelling_transfer.study.findings import find_patterns, rate_settings

MakeStudy = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def patterns(trials: pd.DataFrame, marks: pd.DataFrame) -> pd.DataFrame:
    base = {str(task): float(share) for task, share in marks.groupby("task")["base"].mean().items()}
    return find_patterns(trials, marks, base, Bootstrap(n_resamples=499))


def test_gains_by_setting_are_means_over_its_trials(make_study: MakeStudy) -> None:
    gains = [{"spelling": 0.1 * (1 + number % 4), "position": 0.05} for number in range(12)]  # rises with the rank
    trials, marks = make_study(gains)
    found = patterns(trials, marks)
    ranks = found[(found["name"] == "lora.r") & (found["task"] == "spelling")]
    assert ranks["value"].tolist() == ["4", "8", "16", "32"]
    assert ranks["trials"].tolist() == [3, 3, 3, 3]
    base = marks[marks["task"] == "spelling"]["base"].mean()
    expected = [trials[trials["lora.r"] == rank]["spelling"].mean() - base for rank in (4, 8, 16, 32)]
    assert ranks["gain"].tolist() == pytest.approx(expected)
    assert ((ranks["low"] <= ranks["gain"] + 1e-12) & (ranks["gain"] <= ranks["high"] + 1e-12)).all()
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


def test_one_trial_has_patterns_of_questions_and_none_of_settings(make_study: MakeStudy) -> None:
    found = patterns(*make_study([{"spelling": 0.2}]))
    assert set(found["pattern"]) == {"difficulty", "tokens"}
    assert found["low"].notna().any()


def test_few_trials_have_a_mean_and_no_interval(make_study: MakeStudy) -> None:
    trials, marks = make_study([{"spelling": 0.2}, {"spelling": 0.3}])
    settings = patterns(trials, marks).query("pattern == 'setting'")
    assert settings["gain"].notna().all()
    assert settings["low"].isna().all()


def test_importance_is_rated_on_the_finished_trials_and_on_the_settings_all_of_them_have(make_study: MakeStudy) -> None:
    trials, _ = make_study([{"spelling": 0.02 * number} for number in range(12)])
    found = rate_settings(trials, {}, seeds=2)
    assert set(found["setting"]) == {"lora.r", "training.learning_rate"}
    hopeless = trials.assign(number=trials["number"] + 12, state="pruned", transfer_score=-9.0)
    some = pd.concat([trials.assign(**{"lora.alpha": [8, None] * 6}), hopeless])
    pd.testing.assert_frame_equal(rate_settings(some, {}, seeds=2), found)
    assert rate_settings(trials.assign(state="failed", transfer_score=np.nan), {}, seeds=2).empty
