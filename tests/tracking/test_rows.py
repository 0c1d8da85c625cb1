"""What W&B is told of a study."""

import json

import pytest

from spelling_transfer.tracking.rows import history, run_config, run_name, summary, transfer_table, trial_table

from .studies import STEPS, study, trial


def test_loss_spelling_and_transfer_of_a_step_are_one_row_in_four_groups() -> None:
    one = trial(0)
    rows = history(study(one), one)
    assert [row.step for row in rows] == list(range(1, STEPS + 1))
    assert rows[0].values == {"train/loss": 1.0}
    last = rows[-1].values
    assert {name.partition("/")[0] for name in last} == {"train", "spelling", "transfer", "selection"}
    assert last["spelling/accuracy"] == pytest.approx(0.4)
    assert last["spelling/gain"] == pytest.approx(0.3)
    assert last["transfer/position_gain"] == pytest.approx(0.15)
    assert last["transfer/count_gain"] == pytest.approx(0.075)


def test_gains_are_left_out_where_the_base_model_was_not_scored() -> None:
    one = trial(0)
    rows = history(study(one, base={}), one)
    assert not any("gain" in name for row in rows for name in row.values)
    assert transfer_table(study(one, base={})).rows == []


def test_the_name_of_a_run_says_what_was_chosen() -> None:
    assert run_name(trial(1)) == "001 r=16 targets=q_proj,v_proj"
    assert len(run_name(trial(0).__class__(0, "running", 0, {"a.b": "x" * 500}, {}))) <= 120


def test_the_configuration_names_what_it_belongs_to() -> None:
    one = trial(1)
    config = run_config(study(one), one)
    assert config["lora"] == {"r": 16}
    assert config["searched"] == {"lora.r": 16, "lora.targets": "q_proj,v_proj"}
    assert (config["trial"], config["seed"], config["study"]) == (1, 1, {"focus": "balanced"})
    assert json.dumps(config)


def test_the_summary_holds_the_scores_at_the_end_and_why_a_trial_failed() -> None:
    failed = trial(0, "failed", 3)
    told = summary(study(failed), failed)
    assert told["error"] == "a bad day"
    assert (told["state"], told["steps"], told["seconds"]) == ("failed", 3, 1.5)
    assert told["spelling/accuracy"] == pytest.approx(0.2)


def test_the_tables_hold_the_trials_that_ended() -> None:
    whole = study(trial(0), trial(1, "running", 2), trial(2, "failed", 2), trial(3, "pruned", 2))
    trials, transfer = trial_table(whole), transfer_table(whole)
    assert [row[0] for row in trials.rows] == [0, 2, 3]
    assert {len(row) for row in trials.rows} == {len(trials.names)}
    assert trials.names[:4] == ["trial", "state", "lora.r", "lora.targets"]
    assert [row[0] for row in transfer.rows] == [0, 3]
    assert transfer.rows[0][1:] == pytest.approx([0.3, 0.15, 0.075])
