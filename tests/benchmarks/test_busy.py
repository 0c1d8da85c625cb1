"""The benchmark of a busy machine runs, writes its rows, and gets the same answers beside a neighbour as alone."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "busy.py"


def test_answers_beside_another_process_are_those_of_a_run_alone(tmp_path: Path):
    file = tmp_path / "rows.json"
    subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--waiting", "asleep", "--json", file], check=True, capture_output=True
    )
    rows = json.loads(file.read_text())
    assert [(row["part"], row["threads wait"], row["same answers"]) for row in rows] == [
        ("evaluation", "asleep", True),
        ("serving", "asleep", True),
        ("local_prep", "asleep", True),
    ]
    assert all(row["idle seconds"] > 0 and row["busy seconds"] > 0 and row["goal"] == 2.5 for row in rows)
