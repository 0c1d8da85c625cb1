"""A few rounds of the fault test: workers, the study's process and PostgreSQL killed while a study runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from local_postgres import find_binaries

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

HAS_POSTGRESQL = pytest.mark.skipif(
    find_binaries() is None, reason="PostgreSQL is not installed (Debian: apt install postgresql)"
)


@pytest.mark.parametrize(("storage", "kills"), [("sqlite", 2), pytest.param("postgresql", 3, marks=HAS_POSTGRESQL)])
def test_a_study_whose_processes_are_killed_ends_as_one_that_was_left_alone(
    storage: str, kills: int, tmp_path: Path
) -> None:
    file = tmp_path / "rows.json"
    options = ["--kills", str(kills), "--storage", storage, "--trials", "4", "--steps", "40", "--step-seconds", "0.02"]
    command = [sys.executable, str(BENCHMARKS / "study_faults.py"), *options, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert file.is_file(), done.stderr
    rows = {row["metric"]: row["ours"] for row in json.loads(file.read_text())}
    assert sum(count for metric, count in rows.items() if metric.startswith("kills: ")) == kills
    assert rows["trials"] == rows["numbers of trials"] == rows["trials that ended once"] == 4
    assert rows["trials with the undisturbed scores"] == rows["learning curves as undisturbed"] == 4
    assert rows["trials in Optuna's tables that have not ended"] == 0
    assert rows["steps lost beyond the last checkpoint"] == 0
    assert done.returncode == 0
