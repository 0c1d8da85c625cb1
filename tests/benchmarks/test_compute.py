"""The benchmark of the dispatch runs and writes its rows; what it measures is not judged here, what it counts is."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "compute.py"
COLUMNS = ["metric", "ours", "peer", "peer_name", "unit", "ratio", "goal"]


def test_under_faulty_answers_each_job_is_done_once_and_no_machine_stays_on(tmp_path: Path):
    file = tmp_path / "rows.json"
    subprocess.run([sys.executable, SCRIPT, "--quick", "--jobs=6", "--json", file], check=True, capture_output=True)
    rows = json.loads(file.read_text())
    assert all(list(row) == COLUMNS for row in rows)
    found = {row["metric"]: row["ours"] for row in rows}
    assert found["6 jobs, 10% faulty answers: pieces of work done exactly once"] == 6
    assert found["commands begun in all"] == 6
    assert found["jobs reported as failed"] == 0
    assert found["machines still on afterwards"] == 0
    assert found["memory of the driver, peak"] > 30
