"""The short form of benchmarks/training_faults.py: one run, ended at random until it is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_run_ended_at_random_moments_equals_an_undisturbed_one(tmp_path: Path) -> None:
    script = ROOT / "benchmarks" / "training_faults.py"
    command = [sys.executable, str(script), "--rounds", "1", "--seed", "3", "--json", str(tmp_path / "rows.json")]
    subprocess.run(command, check=True, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"})
    rows = {row["metric"]: row["ours"] for row in json.loads((tmp_path / "rows.json").read_text())}
    assert rows["runs equal to an undisturbed one, bit for bit"] == 1
    assert rows["checkpoints that could not be read"] == 0
