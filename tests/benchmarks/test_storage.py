"""The benchmarks of storage run and write their rows; what they measure is not judged here."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COLUMNS = ["metric", "ours", "peer", "peer_name", "unit", "ratio", "goal"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_it_compares_bundles_with_the_aws_command_line(tmp_path: Path):
    pytest.importorskip("awscli", reason="the command line of AWS belongs to the extra 'bench'")
    rows = load("storage").compare(tmp_path, n_files=3, rounds=1)
    assert all(list(row) == COLUMNS for row in rows)
    push, pull, second, sent, memory = rows
    assert {push["peer_name"], pull["peer_name"], second["peer_name"]} == {"aws s3 sync"}
    assert (push["goal"], pull["goal"], second["goal"], memory["goal"]) == (0.8, 0.8, 2.0, 300)
    assert abs(push["ratio"] - push["ours"] / push["peer"]) < 0.02
    assert (sent["ours"], sent["goal"]) == (0, 0)
    assert memory["ours"] > 30


def test_rounds_of_faults_are_summed_up():
    faults = load("storage_faults")
    outcomes = [
        faults.Outcome("client killed in push", interrupted=True, missing_bytes=10_000_000, moved_bytes=10_500_000),
        faults.Outcome("client killed in push", interrupted=True, missing_bytes=10, moved_bytes=5_000),
        faults.Outcome("slow connections"),
    ]
    rows = faults.summarise(outcomes, ["round 4, two pushers at once: AssertionError: partial"])
    assert all(list(row) == COLUMNS for row in rows)
    # What is small is left out of the ratio, as the requests outweigh it.
    assert [row["ours"] for row in rows] == [4, 2, 1, 1.05]
