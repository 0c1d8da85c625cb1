"""Samples load and memory of a machine, and of its GPU where there is one. Runs on the rented machine, by itself.

Usage: ``python monitor.py FILE [SECONDS]`` until it is ended, or ``python monitor.py --once``.
"""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_FIELDS = ["seconds", "load", "memory_used_gib", "gpu_percent", "gpu_memory_gib"]


def sample(started: float) -> dict[str, float | str]:
    """Returns one row of measurements; what the machine does not report is empty."""
    gpu_percent, gpu_memory = _gpu()
    return {
        "seconds": round(time.monotonic() - started, 1),
        "load": round(os.getloadavg()[0], 2),
        "memory_used_gib": _memory(),
        "gpu_percent": gpu_percent,
        "gpu_memory_gib": gpu_memory,
    }


def summary(rows: list[dict[str, float | str]]) -> str:
    """Returns a line about all rows: means of load and GPU use, peaks of memory."""
    parts = []
    for name, how in (
        ("load", "mean"),
        ("memory_used_gib", "peak"),
        ("gpu_percent", "mean"),
        ("gpu_memory_gib", "peak"),
    ):
        values = [float(row[name]) for row in rows if row[name] != ""]
        if values:
            value = max(values) if how == "peak" else sum(values) / len(values)
            parts.append(f"{how} {name} {value:.2f}")
    return "kedro-compute: usage " + ", ".join(parts)


def _memory() -> float | str:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
    return round((kib["MemTotal"] - kib["MemAvailable"]) / 2**20, 2)


def _gpu() -> tuple[float | str, float | str]:
    if shutil.which("nvidia-smi") is None:
        return "", ""
    command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        percent, mebibytes = done.stdout.splitlines()[0].split(",")
        memory = round(float(mebibytes) / 1024, 2)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return "", ""
    return (float(percent) if percent.strip().isdigit() else ""), memory  # a part of a GPU (MIG) says [N/A]


def main(arguments: list[str]) -> None:
    """Samples until it is ended, then prints the summary."""
    started = time.monotonic()
    if arguments[:1] == ["--once"]:
        print(summary([sample(started)]))  # noqa: T201  (the log of a job is where it belongs)
        return
    file, seconds = Path(arguments[0]), float(arguments[1]) if len(arguments) > 1 else 10.0
    rows: list[dict[str, float | str]] = []
    running = [True]
    signal.signal(signal.SIGTERM, lambda *_: running.clear())
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, _FIELDS)
        writer.writeheader()
        while running:
            rows.append(sample(started))
            writer.writerow(rows[-1])
            stream.flush()
            end = time.monotonic() + seconds
            while running and time.monotonic() < end:
                time.sleep(0.1)
    print(summary(rows), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
