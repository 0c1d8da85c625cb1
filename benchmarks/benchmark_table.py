"""The rows that each benchmark writes, ours beside a peer's, and how they are printed."""

from __future__ import annotations

from typing import Any


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
    lines = ["| | ours | other | ratio | goal |", "| --- | --- | --- | --- | --- |"]
    for each in rows:
        unit = "" if each["unit"] == "share" else f" {each['unit']}"
        ours, peer = (None if each[name] is None else f"{each[name]:,.4g}{unit}" for name in ("ours", "peer"))
        other = "" if peer is None else f"{peer} ({each['peer_name']})"
        ratio, goal = ("" if each[name] is None else f"{each[name]:.4g}" for name in ("ratio", "goal"))
        lines.append(f"| {each['metric']} | {ours} | {other} | {ratio} | {goal} |")
    return "\n".join(lines) + "\n"
