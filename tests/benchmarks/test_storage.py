"""The benchmarks of storage run and write their rows; what they measure is not judged here."""

from __future__ import annotations

import pytest


def test_it_compares_bundles_with_the_aws_command_line(rows_of) -> None:
    pytest.importorskip("awscli", reason="the command line of AWS belongs to the extra 'bench'")
    push, pull, second, sent, memory = rows_of("storage.py", "--quick")
    assert {push["peer_name"], pull["peer_name"], second["peer_name"]} == {"aws s3 sync"}
    assert (push["goal"], pull["goal"], second["goal"], memory["goal"]) == (0.8, 0.8, 2.0, 300)
    assert abs(push["ratio"] - push["ours"] / push["peer"]) < 0.02
    assert (sent["ours"], sent["goal"]) == (0, 0)
    assert memory["ours"] > 30


def test_it_plays_rounds_of_faults(rows_of) -> None:
    rounds, interrupted, failures, ratio = rows_of("storage_faults.py", "--rounds=1")
    assert (rounds["ours"], failures["ours"], failures["goal"]) == (1, 0, 0)
    assert interrupted["ours"] in (0, 1)
    assert ratio["ours"] <= ratio["goal"] == 1.1
