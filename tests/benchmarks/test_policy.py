"""The benchmark of the policy's checks runs and writes its rows; what it measures is not judged here."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "policy.py"
COLUMNS = ["metric", "ours", "peer", "peer_name", "unit", "ratio", "goal"]


def test_it_checks_files_and_a_table_beside_what_only_reads_or_writes_them(tmp_path: Path):
    file = tmp_path / "rows.json"
    subprocess.run([sys.executable, SCRIPT, "--quick", "--json", file], check=True, capture_output=True)
    rows = json.loads(file.read_text())
    assert all(list(row) == COLUMNS for row in rows)
    assert [row["peer_name"] for row in rows] == ["Python's parsers", "to_parquet"]
