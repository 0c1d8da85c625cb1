"""The benchmark of the token analysis runs and writes its rows; what it measures is not judged here."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "token_analysis.py"
COLUMNS = ["metric", "ours", "peer", "peer_name", "unit", "ratio", "goal"]


def test_it_compares_ours_with_the_loop_in_one_run(tmp_path: Path):
    file = tmp_path / "rows.json"
    subprocess.run([sys.executable, SCRIPT, "--quick", "--json", file], check=True, capture_output=True)
    rows = json.loads(file.read_text())
    assert all(list(row) == COLUMNS for row in rows)
    loop, found, seconds, memory = rows
    assert (loop["unit"], loop["peer_name"]) == ("s", "tokenizer.tokenize in a loop")
    assert abs(loop["ratio"] * loop["ours"] - loop["peer"]) < 0.05 * loop["peer"]
    assert (found["ours"], found["peer"]) == (94_358, 47_938)
    assert (seconds["goal"], memory["goal"]) == (10, 1_000)
    assert memory["ours"] > 50
