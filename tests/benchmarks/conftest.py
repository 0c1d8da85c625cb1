"""Benchmarks are scripts that find one another in their folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COLUMNS = ["metric", "ours", "peer", "peer_name", "unit", "ratio", "goal"]

sys.path.append(str(BENCHMARKS))


@pytest.fixture
def rows_of(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs a benchmark and returns the rows that it writes."""

    def run(script: str, *options: str) -> list[dict[str, Any]]:
        file = tmp_path / "rows.json"
        subprocess.run([sys.executable, BENCHMARKS / script, *options, "--json", file], check=True, capture_output=True)
        rows: list[dict[str, Any]] = json.loads(file.read_text())
        assert all(list(row) == COLUMNS for row in rows if "metric" in row)
        return rows

    return run
