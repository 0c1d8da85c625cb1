"""What benchmarks share: their options, the rows that each writes, ours beside a peer's, and what a process takes."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any


def parser_of(description: str | None, quick: str | None = None) -> argparse.ArgumentParser:
    """Returns a parser with ``--json``, and with ``--quick`` where a benchmark has a short form, which is described."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if quick is not None:
        parser.add_argument("--quick", action="store_true", help=f"{quick}: shows that it runs, proves nothing")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    return parser


def finish(rows: list[dict[str, Any]], file: Path | None) -> None:
    """Prints the rows, and writes them where ``--json`` names a file."""
    show(rows)
    if file is not None:
        file.write_text(json.dumps(rows, indent=2) + "\n")


def in_lines(results: dict[str, Any]) -> str:
    """Returns results as JSON, one line for each entry of a list: a hundred steps are no hundred lines."""

    def text(value: Any, indent: str) -> str:
        if not indent or not isinstance(value, list):
            return json.dumps(value, ensure_ascii=False)
        return "[\n" + ",\n".join(f"{indent} {text(each, '')}" for each in value) + f"\n{indent}]"

    return "{\n" + ",\n".join(f" {json.dumps(name)}: {text(value, ' ')}" for name, value in results.items()) + "\n}\n"


def in_own_process(
    script: str | Path, *options: object, python: Path | None = None, environment: dict[str, str] | None = None
) -> Any:
    """Runs a part of a benchmark in a process of its own and returns what it printed last, which is JSON."""
    command = [str(python or sys.executable), str(script), *map(str, options)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def memory_mb(field: str = "VmHWM") -> float:
    """Returns what this process holds (``VmRSS``), or by default the most that it has held, in 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says of a new process on Linux is at least what its parent held
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def row(
    metric: str,
    ours: float,
    peer: float | None = None,
    peer_name: str | None = None,
    unit: str = "",
    *,
    goal: float | None = None,
    more: bool = False,
) -> dict[str, Any]:
    """Returns one row; without a peer it has no ratio.

    Args:
        metric: What was measured.
        ours: Our figure.
        peer: The peer's, measured in the same run.
        peer_name: Who the peer is.
        unit: Unit of both.
        goal: What is aimed at, in the ratio or in the unit, as the metric says.
        more: Whether more is better, as with speed; else less is, as with seconds and memory.

    Returns:
        The row. Its ratio is above 1 where ours is better.
    """
    ratio = None
    if peer is not None and ours and peer:
        ratio = round(ours / peer if more else peer / ours, 3)
    return {
        "metric": metric,
        "ours": round(ours, 4),
        "peer": None if peer is None else round(peer, 4),
        "peer_name": peer_name,
        "unit": unit,
        "ratio": ratio,
        "goal": goal,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Prints the rows as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*(name.replace("_", " ") for name in rows[0]), box=None, pad_edge=False)
    for each in rows:
        table.add_row(*("" if value is None else str(value) for value in each.values()))
    Console(width=180).print(table)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a table for a page of the documentation."""
    lines = ["| measured | ours | other | ratio | goal |", "| --- | --- | --- | --- | --- |"]
    for each in rows:
        unit = "" if each["unit"] == "share" else f" {each['unit']}"
        ours, peer = (None if each[name] is None else f"{each[name]:,.4g}{unit}" for name in ("ours", "peer"))
        other = "" if peer is None else f"{peer} ({each['peer_name']})"
        ratio, goal = ("" if each[name] is None else f"{each[name]:.4g}" for name in ("ratio", "goal"))
        lines.append(f"| {each['metric']} | {ours} | {other} | {ratio} | {goal} |")
    return "\n".join(lines) + "\n"
