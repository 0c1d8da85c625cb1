"""The tables of an evaluation on Weights & Biases: sent once, and nothing fails where they are not."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
import pytest

from spelling_transfer.tracking import TrackingSettings
from spelling_transfer.tracking.evaluation import log_evaluation

from .fake_wandb import FakeWandb

TABLES = {
    "scores": pd.DataFrame({"arm": ["base", "spelling"], "exact_match": [0.5, float("nan")]}),
    "errors": pd.DataFrame(columns=["arm", "n"]),
}


def test_tables_are_sent_once_and_changed_ones_as_another_run(server: FakeWandb, tmp_path: Path) -> None:
    first, again = (log_evaluation(TABLES, TrackingSettings(), study="nights", folder=tmp_path) for _ in range(2))
    assert first == again
    changed = {"scores": TABLES["scores"].assign(exact_match=1.0)}
    other = log_evaluation(changed, TrackingSettings(), study="nights", folder=tmp_path)
    assert set(server.runs) == {first, other}
    run = server.runs[str(first)]
    assert len(run.history) == 1
    assert "evaluation/scores" in json.dumps(run.history)
    assert "evaluation/errors" not in json.dumps(run.history)


def test_who_is_not_signed_in_sends_nothing_and_a_refusal_is_a_warning(
    nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert log_evaluation(TABLES, TrackingSettings(), study="nights", folder=tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    import wandb

    wandb.teardown()
    with caplog.at_level(logging.WARNING):
        assert log_evaluation(TABLES, TrackingSettings(), study="nights", folder=tmp_path) is None
    assert "were not sent to Weights & Biases" in caplog.text
    wandb.teardown()


@pytest.mark.parametrize(("name", "value"), [("WANDB_MODE", ""), ("WANDB_BASE_URL", "wandb.local")])
def test_a_setting_of_wandb_that_is_not_valid_is_a_warning(
    nobody: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert log_evaluation(TABLES, TrackingSettings(), study="nights", folder=tmp_path) is None
    assert f"were not sent to Weights & Biases: {name}, or {name[6:].lower()} in wandb's own settings" in caplog.text
