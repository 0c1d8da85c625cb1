"""What W&B is told of a study."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from spelling_transfer.tracking.wandb_ledger import Ledger, LedgerError
from spelling_transfer.tracking.wandb_rows import history, run_config, run_name, summary, transfer_table, trial_table
from spelling_transfer.tracking.wandb_settings import TrackingSettings

from .wandb_studies import STEPS, study, trial

PARAMETERS = Path(__file__).parents[2] / "conf" / "base" / "parameters" / "tracking.yml"


def test_the_shipped_settings_are_the_defaults() -> None:
    assert TrackingSettings(**yaml.safe_load(PARAMETERS.read_text())["tracking"]) == TrackingSettings()
    assert TrackingSettings().project == "llm-spelling-transfer-learning"


@pytest.mark.parametrize(
    "wrong", [{"mode": "on"}, {"project": "a/b"}, {"project": ""}, {"entity": "a b"}, {"api_key": "x"}]
)
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TrackingSettings(**wrong)


def test_loss_spelling_and_transfer_of_a_step_are_one_row_in_three_groups() -> None:
    one = trial(0)
    rows = history(study(one), one)
    assert [row.step for row in rows] == list(range(1, STEPS + 1))
    assert rows[0].values == {"train/loss": 1.0}
    last = rows[-1].values
    assert {name.partition("/")[0] for name in last} == {"train", "spelling", "transfer"}
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


def test_the_ids_of_runs_stay_and_another_study_of_the_same_name_has_others(tmp_path: Path) -> None:
    one, same, other = Ledger(tmp_path / "a"), Ledger(tmp_path / "a"), Ledger(tmp_path / "b")
    ids = [one.run_id(number) for number in (0, 1, None)]
    assert ids == [same.run_id(number) for number in (0, 1, None)]
    assert len({*ids, *(other.run_id(number) for number in (0, 1, None))}) == 6


def test_what_was_sent_is_remembered_for_each_target(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.sent("there", 3)
    ledger.note_study("there", 4)
    ledger.adopt(5, "of-a-sweep")
    again = Ledger(tmp_path)
    assert again.was_sent("there", 3)
    assert not again.was_sent("there", 4)
    assert not again.was_sent("elsewhere", 3)
    assert (again.study_sent("there"), again.study_sent("elsewhere")) == (4, 0)
    assert again.run_id(5) == "of-a-sweep"


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2}', '{"version": 1}'])
def test_a_ledger_that_cannot_be_read_is_an_error_and_no_new_beginning(tmp_path: Path, text: str) -> None:
    (tmp_path / "wandb.json").write_text(text)
    with pytest.raises(LedgerError, match=r"wandb\.json"):
        Ledger(tmp_path)
    assert (tmp_path / "wandb.json").read_text() == text


def test_nothing_heavy_is_imported_before_a_study_runs() -> None:
    code = (
        "import sys, spelling_transfer.tracking.wandb_observer, spelling_transfer.tracking.wandb_sync; "
        "print([name for name in ('wandb', 'torch', 'optuna', 'sqlalchemy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
