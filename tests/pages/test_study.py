from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from tests.samples.studies import figures_of

from spelling_transfer.pages.findings import describe_confirmation
from spelling_transfer.pages.study import render_tuning_page
from spelling_transfer.study.config import LightningSettings, TrialConfig
from spelling_transfer.study.findings import StudyFindings

MakeFindings = Callable[..., StudyFindings]


def page_of(found: StudyFindings) -> str:
    return render_tuning_page(found, figures_of(found))


def text_of(page: str) -> str:
    body = re.sub(r"<script.*?</script>|<style.*?</style>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).replace("&#39;", "'").split())


@pytest.mark.parametrize("n", [1, 3, 12])
def test_a_study_of_any_size_has_a_page_that_needs_no_network(study_findings: MakeFindings, n: int) -> None:
    page = page_of(study_findings(n))
    assert page.count("Plotly.react(") >= 1
    assert not re.search(r"""<(script|link|img|iframe)\b[^>]*\b(src|href)=["']?https?:""", page)
    shown = text_of(page)
    for heading in ("What was found", "Does spelling carry over?", "Learning curves", "Which settings matter",
                    "Time", "Trials", "Full configuration", "Environment and seeds"):  # fmt: skip
        assert heading in shown
    assert ("Within a method the settings add up to 100%" in shown) == (n == 12)  # fewer trials have no importance
    assert "the share of the score's variance" not in shown
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", shown)
    said = shown.rpartition("Full configuration")[0]
    assert not re.search(r"(?<![\d.,])1 [a-z]+s\b", said)  # one of a thing is no plural


def test_the_page_says_how_the_winner_did_with_new_seeds_and_against_its_control(study_findings: MakeFindings) -> None:
    found = study_findings(3)
    shown = text_of(page_of(found))
    assert f"a transfer score of {found.confirmation['mean']:.1%}" in shown
    assert "One seed cannot show how far seeds differ" in shown
    # Chosen by spelling: another trial may have the better transfer score, so it is not called the best by that.
    chosen = f"the selected trial had {found.confirmation['selected']:.1%}"
    assert f"{chosen} (the best of 3 by spelling)" in shown
    weighted = replace(found, study=found.study.model_copy(update={"select_by": "weighted"}))
    assert ", so biased upwards by the selection)" in describe_confirmation(weighted)
    assert "position counts 0.5, count 0.5; a transfer score is 120% at most" in shown  # no share of anything
    assert "Compared with the form control" in shown
    assert "no correlation can be estimated from 3 finished trials" in shown
    assert "Spearman" not in shown
    assert "cheapest of them" not in shown
    # The price of study.lightning is the estimate's: another machine may have been rented.
    assert "'kedro compute cost'" in shown
    rented = replace(found, study=found.study.model_copy(update={"lightning": LightningSettings(price_usd_per_hour=5)}))
    assert "USD" not in text_of(page_of(replace(rented, environment={**found.environment, "accelerator": "NVIDIA L4"})))
    three = text_of(page_of(study_findings(3, seeds=3)))
    assert "over seeds, 95%" in three
    assert "cannot show how far seeds differ" not in three
    assert "There is no form control" in text_of(page_of(study_findings(3, with_control=False)))


def test_trials_are_worse_by_what_they_are_ranked_by(study_findings: MakeFindings) -> None:
    found = study_findings(3)
    alone = replace(found, best={**found.best, "equivalent": []})
    shown = text_of(page_of(alone))
    # The transfer score of another trial may be higher.
    assert "Every other trial is clearly worse by spelling." in shown
    assert "by spelling all others are clearly worse" in shown


def test_downloads_hold_the_tables(study_findings: MakeFindings) -> None:
    found = study_findings(3)
    files = dict(re.findall(r'download="([^"]+)" href="data:[^,]+,([^"]+)"', page_of(found)))
    trials = pd.read_csv(io.BytesIO(base64.b64decode(files["trials.csv"])))
    assert trials["transfer_score"].tolist() == pytest.approx(found.trials["transfer_score"].tolist())
    assert "seconds" in trials
    config = yaml.safe_load(base64.b64decode(files["best_config.yml"]))
    assert TrialConfig.model_validate(config).training.seed == found.confirmation["kept_seed"]
    tables = {"trials.csv", "learning_curves.csv", "transfer_by_trial.csv", "training_patterns.csv", "best_config.yml"}
    assert len(found.importance) == 0
    assert set(files) == tables  # an empty table is not offered


def test_differences_are_in_points_as_the_captions_say(study_findings: MakeFindings) -> None:
    page = page_of(study_findings(12))
    assert "in percentage points" in page
    assert re.findall(r">[+−]\d+\.\d</td>", page)
    assert re.findall(r">\+[\d.]+%</td>", page) == []  # a share has no sign, unless it is negative
