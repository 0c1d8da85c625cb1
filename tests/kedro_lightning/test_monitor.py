"""The monitor that runs beside a job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(("said", "found"), [("37, 2048", (37.0, 2.0)), ("[N/A], 2048", ("", 2.0)), ("", ("", ""))])
def test_what_a_gpu_does_not_say_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, found) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{said}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    row = monitor.sample(0.0)
    assert (row["gpu_percent"], row["gpu_memory_gib"]) == found
