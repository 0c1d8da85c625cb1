"""What was sent is remembered, so that nothing is sent twice."""

from pathlib import Path

import pytest

from spelling_transfer.tracking.delivery import Ledger, LedgerError


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
