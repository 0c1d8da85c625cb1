"""The page of costs: one file without anything from outside."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from .costs import advice, summary

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;width:100%}th,td{text-align:left;padding:.3rem .6rem;"
    "border-bottom:1px solid #ccc}td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}"
    ".bar{background:#0a58a3;height:.7rem;display:block}"
)

_SECTIONS = (
    ("By run or study", "run_id"),
    ("By node", "title"),
    ("By job or worker of a study", "key"),
    ("By tier", "tier"),
    ("By machine", "machine"),
)


def write_page(path: Path, frame: pd.DataFrame, notes: Sequence[str] = ()) -> None:
    """Writes the page, whole or not at all.

    Args:
        path: Where to.
        frame: The table of costs.
        notes: Lines below the total, such as the cost of a point of score.
    """
    total = float(pd.to_numeric(frame["cost_usd"]).sum()) if len(frame) else 0.0
    parts = [f"<p><strong>{total:.2f} USD</strong> for {len(frame)} jobs.</p>"]
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    for heading, column in _SECTIONS:
        parts.append(f"<h2>{heading}</h2>" + _table(summary(frame, column), bar="usd"))
    parts.append("<h2>Which machine</h2>" + _table(advice(frame)))
    body = "\n".join(parts)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Costs of rented machines</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>Costs of rented machines</h1>\n{body}</body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)


def _table(rows: list[dict[str, Any]], bar: str = "") -> str:
    if not rows:
        return "<p>Nothing yet.</p>"
    most = max((float(row[bar]) for row in rows), default=0.0) if bar else 0.0
    head = "".join(f"<th{_kind(rows[0][name])}>{html.escape(name.replace('_', ' '))}</th>" for name in rows[0])
    lines = []
    for row in rows:
        cells = "".join(f"<td{_kind(value)}>{html.escape(str(value))}</td>" for value in row.values())
        if bar:
            width = 100 * float(row[bar]) / most if most else 0.0
            cells += f'<td style="width:25%"><span class="bar" style="width:{width:.1f}%"></span></td>'
        lines.append(f"<tr>{cells}</tr>")
    return f"<table><thead><tr>{head}{'<th></th>' if bar else ''}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _kind(value: Any) -> str:
    return ' class="number"' if isinstance(value, int | float) else ""
