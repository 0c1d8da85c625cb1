"""The monitor that runs beside a job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from kedro_lightning import monitor


def test_the_monitor_writes_rows_and_one_line_of_summary(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, monitor.__file__, str(tmp_path / "machine.csv"), "0.1"], stdout=subprocess.PIPE, text=True
    )
    while not (tmp_path / "machine.csv").exists() or len((tmp_path / "machine.csv").read_text().splitlines()) < 3:
        assert process.poll() is None
    process.terminate()
    out, _ = process.communicate(timeout=300)
    assert out.startswith("kedro-compute: usage mean load ")
    assert "peak memory_used_gib" in out
    assert (tmp_path / "machine.csv").read_text().startswith("seconds,load,memory_used_gib")
