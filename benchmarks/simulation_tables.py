"""The tables of docs/evaluation.md from what the simulation found: ``python benchmarks/simulation_tables.py``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "statistics.json"
NOT_OURS = ("Wald", "Newcombe", "percentile bootstrap", "families alone", "both resampled")
"""How the names of intervals end that were tried and are not used."""
ENOUGH_DIFFERING = 20
"""Below so many expected disagreements, or seeds of so few, what is counted comes in steps too coarse for 95%."""


def tables(found: Mapping[str, Any]) -> str:
    """Returns coverage, false claims and power as Markdown."""
    return "\n\n".join((_coverage(found["coverage"]), _false_claims(found["false claims"]), _power(found["power"])))


def is_ours(row: Mapping[str, Any]) -> bool:
    """Returns whether a row is of an interval that is used."""
    return not str(row["interval"]).endswith(NOT_OURS)


def many_differ(row: Mapping[str, Any]) -> bool:
    """Returns whether enough answers differ for coverage not to be a matter of whole numbers."""
    return row["disagreement"] is None or row["families"] * row["disagreement"] >= ENOUGH_DIFFERING


def _coverage(rows: Sequence[Mapping[str, Any]]) -> str:
    names = sorted(dict.fromkeys(row["interval"] for row in rows), key=lambda name: name.endswith(NOT_OURS))
    lines = []
    for name in names:
        of_name = [row for row in rows if row["interval"] == name]
        dense = [row["coverage"] for row in of_name if many_differ(row)]
        every = [row["coverage"] for row in of_name]
        used = "yes" if is_ours(of_name[0]) else "no"
        lines.append((name, used, len(every), _share(min(every)), _share(max(every)), _share(max(dense))))
    head = ("interval", "used", "cells", "lowest coverage", "highest", f"highest, {ENOUGH_DIFFERING} or more differ")
    return _markdown(head, lines)


def _false_claims(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("truth", "families", "seeds", "they differ by", "the rule", "gates aside", "base alone", "control alone")
    return _markdown(
        head,
        [
            (
                row["truth"],
                row["families"],
                row["seeds"],
                _share(row["seed_sd"], 0),
                *(_share(row[name]) for name in ("the rule", "gates aside", "without the control", "without the base")),
            )
            for row in rows
        ],
    )


def _power(rows: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "truth",
        "families",
        "seeds",
        "they differ by",
        "assumed",
        "any found",
        "each found",
        "called no",
        "detectable",
    )
    return _markdown(
        head,
        [
            (
                row["truth"],
                row["families"],
                row["seeds"],
                _share(row["seed_sd"], 0),
                "–" if row["assumed"] is None else _share(row["assumed"], 0),
                _share(row["the rule"]),
                _share(row["each task"]),
                _share(row["no"]),
                _share(row["detectable"]),
            )
            for row in rows
        ],
    )


def _share(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}%}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    print(tables(json.loads(RESULTS.read_text())))
