"""The short form of benchmarks/training_faults.py: one run, ended at random until it is done."""

import pytest


def test_a_run_ended_at_random_moments_equals_an_undisturbed_one(rows_of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = {row["metric"]: row["ours"] for row in rows_of("training_faults.py", "--rounds", "1", "--seed", "3")}
    assert rows["runs equal to an undisturbed one, bit for bit"] == 1
    assert rows["checkpoints that could not be read"] == 0
