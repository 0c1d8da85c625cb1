"""How numbers and lists are written for a reader: one way for every page, document and line in the terminal.

A minus is a minus sign and no hyphen, thousands have a comma, and what is missing is a dash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

MISSING = "–"
POINTS = "points"
"""In place of a format specification: a difference of shares, in percentage points."""


def number(value: float | np.number[Any], specification: str) -> str:
    """Writes a number by a format specification: ``-0.5`` by ``.2f`` as ``−0.50``."""
    return format(value, specification).replace("-", "−")


def percent(share: float, digits: int = 1) -> str:
    """Writes a share: ``0.123`` as ``12.3%``."""
    return number(share, f".{digits}%")


def level(share: float) -> str:
    """Writes a level of confidence or of a test as exactly as it was set: ``0.975`` as ``97.5%``."""
    return f"{100 * share:.4g}%"


def signed(value: float, digits: int = 3) -> str:
    """Writes a difference with its sign: ``0.05`` as ``+0.050``."""
    return number(round(value, 12) + 0.0, f"+.{digits}f")  # 0.7 - (0.3 + 0.4) is no "−0.0"


def points(difference: float) -> str:
    """Writes a difference of shares in percentage points, with its sign: ``0.05`` as ``+5.0``."""
    return signed(100 * difference, 1)


def span(low: float, high: float, write: Callable[[float], str] = points) -> str:
    """Writes an interval, in points by default: ``+2.0 to +8.1``; too few families have none."""
    if pd.isna(low) or pd.isna(high):
        return "no interval"
    return f"{write(low)} to {write(high)}"


def in_points(row: Mapping[Any, Any] | pd.Series[Any]) -> str:
    """Writes the ``difference`` of a comparison with its interval: ``+5.0 points (+2.0 to +8.1)``."""
    return f"{points(row['difference'])} points ({span(row['low'], row['high'])})"


def duration(seconds: float) -> str:
    """Writes a time: ``95`` as ``1 min 35 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def count_of(n: int, noun: str) -> str:
    """Writes how many there are: ``one trial``, ``12 trials``."""
    words = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
    return f"{words.get(n, n)} {noun}{'' if n == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Writes names one after the other: ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def format_value(value: Any, specification: str | None = None) -> str:
    """Writes any value of a table by its type: commas, three decimals, a dash for what is missing."""
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return ", ".join(format_value(item) for item in value)
    if value is None or pd.isna(value):
        return MISSING
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if specification is not None:
        return points(value) if specification == POINTS else number(value, specification)
    if isinstance(value, (int, np.integer)):
        return number(value, ",")
    if isinstance(value, (float, np.floating)):
        return number(value, _decimals(float(value)))
    return str(value)


def _decimals(value: float) -> str:
    if not math.isfinite(value):
        return ""
    if value == 0 or 0.001 <= abs(value) < 1_000:
        return ".3f"
    return ".2e" if abs(value) < 0.001 else ",.1f"
