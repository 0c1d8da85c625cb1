"""The tables behind the figures: differences that agree with the verdict, floors, doses, kinds of error."""

from __future__ import annotations

import pandas as pd
import pytest
from tests.samples.evaluations import evaluation, table_of

from spelling_transfer.evaluation.plotted import ALL, arm_effects, dose_curve, floors
from spelling_transfer.evaluation.settings import EvaluationSettings
from spelling_transfer.pages.evaluation import EvaluationResults
from spelling_transfer.statistics.paired import paired_difference

WHERE = ["endpoint", "stratum", "value", "task", "arm", "reference"]


@pytest.fixture(scope="module")
def found() -> EvaluationResults:
    return evaluation(EvaluationSettings(n_resamples=999))


def test_differences_are_those_of_the_verdict(found: EvaluationResults) -> None:
    effects = found.effects.set_index(WHERE)
    for task in found.verdict["tasks"]:
        for each in task["comparisons"]:
            reference = {"control": "form_control"}.get(each["reference"], each["reference"])
            row = effects.loc["held_out", ALL, ALL, task["task"], "spelling", reference]
            assert row[["difference", "low", "high", "p_value"]].tolist() == pytest.approx(
                [each[name] for name in ("difference", "low", "high", "p_value")]
            )
            assert row["p_adjusted"] >= row["p_value"]
    for reference in ("base", "form_control"):  # as its gate has it
        treatment = effects.loc["held_out", ALL, ALL, "spelling", "spelling", reference]
        assert treatment["p_adjusted"] == treatment["p_value"]
    ceiling = effects.loc["held_out", ALL, ALL, "position", "direct_position", "base"]
    assert ceiling["clear"] == "up"
    assert ceiling["p_adjusted"] >= ceiling["p_value"]


def test_each_stratum_is_compared_by_itself_and_too_few_families_not_at_all(found: EvaluationResults) -> None:
    effects = found.effects
    whole = effects[(effects["stratum"] == ALL) & (effects["endpoint"] == "held_out")].set_index(WHERE[3:])["n"]
    for stratum, of_stratum in effects[effects["stratum"] != ALL].groupby("stratum"):
        asked = of_stratum.groupby(WHERE[3:])["n"].sum()
        assert (asked == whole[asked.index]).all(), stratum
    few = effects[effects["endpoint"] == "made_up"]
    assert (few["families"] == 2).all()
    assert few[["difference", "low", "high", "p_value", "p_adjusted"]].isna().all().all()
    assert (few["clear"] == "").all()


def test_a_kind_that_all_questions_are_of_has_no_row_of_its_own(found: EvaluationResults) -> None:
    # Its row would be the comparison that the verdict rests on, with another adjusted p-value.
    effects = arm_effects(table_of(found.marked).assign(frequency="4 and above"), EvaluationSettings())
    assert "frequency" not in set(effects["stratum"])
    others = found.effects[found.effects["stratum"] != "frequency"]
    keys = [*WHERE, "n", "difference", "p_value"]
    pd.testing.assert_frame_equal(effects[keys].reset_index(drop=True), others[keys].reset_index(drop=True))


def test_an_arm_that_was_asked_less_is_compared_on_what_it_was_asked(found: EvaluationResults) -> None:
    table = table_of(found.marked)
    asked = sorted(table.loc[table["task"] == "count", "example_id"].unique())[:40]
    part = table[(table["arm"] == "base") & table["example_id"].isin(asked)].assign(arm="few_shots", correct=True)
    effects = arm_effects(pd.concat([table, part]), EvaluationSettings()).set_index(WHERE)
    row = effects.loc["held_out", ALL, ALL, "count", "few_shots", "base"]
    right = table[(table["arm"] == "base") & table["example_id"].isin(asked) & (table["endpoint"] == "held_out")]
    assert row["n"] == len(right)
    assert row["reference_score"] == pytest.approx(right["correct"].mean())
    # Prompted and not trained: no spread of training seeds is assumed.
    alone = paired_difference(right["correct"], [True] * len(right), right["family"])
    assert (row["low"], row["high"], row["p_value"]) == pytest.approx((*alone.interval, alone.p_value))


def test_floors_are_what_answerers_score_that_cannot_spell() -> None:
    marked = pd.DataFrame(
        {"example_id": range(23), "endpoint": "held_out", "task": ["position"] * 3 + ["count"] * 20,
         "word": ["tattoo", "ab", "abcd"] + ["ab"] * 20, "answer": ["t", "a", "a"] + ["1"] * 20,
         "argument": ["1", "2", "1"] + ["a", "b"] * 10}
    )  # fmt: skip
    rows = [
        ("test", "word", "position", "first_token_letter", 0.2, 10),
        ("test", "word", "position", "answer_by_argument", 0.9, 10),  # by chance, among so few
        ("test", "word", "count", "answer_by_argument", 0.3, 200),
        ("validation", "word", "position", "first_token_letter", 0.9, 10),
    ]
    baselines = pd.DataFrame(rows, columns=["split", "word_set", "task", "baseline", "accuracy", "questions"])
    found = floors(pd.concat([marked, marked]), baselines).set_index(["task", "answerer"])["score"]
    assert found["position"].to_dict() == pytest.approx(
        {"commonest": 2 / 3, "random_letter": (3 / 6 + 1 / 2 + 1 / 4) / 3, "first_token_letter": 0.2}
    )
    assert found["count"].to_dict() == {"commonest": 1.0, "answer_by_argument": 0.3}
    for arguments in (marked["example_id"], ""):  # each has its own most frequent answer, or it is the majority answer
        rare = floors(marked.assign(argument=arguments), baselines)
        assert ("count", "answer_by_argument") not in rare.set_index(["task", "answerer"]).index


def test_a_dose_curve_begins_at_the_base_and_averages_seeds() -> None:
    curves = pd.DataFrame(
        {"arm": "spelling", "seed": [1, 2], "step": 10, "spelling": [0.5, 0.7], "position": [0.2, 0.4], "count": 0.3}
    )
    found = dose_curve(curves, {"step": 0, "spelling": 0.4, "position": 0.2, "count": 0.3})
    assert found[found["step"] == 0][["gain", "spelling_gain"]].eq(0).all().all()
    row = found[(found["step"] == 10) & (found["task"] == "position")].iloc[0]
    assert row[["seeds", "score", "lowest", "highest", "gain", "spelling_gain"]].tolist() == pytest.approx(
        [2, 0.3, 0.2, 0.4, 0.1, 0.2]
    )
