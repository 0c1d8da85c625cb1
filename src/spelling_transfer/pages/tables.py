"""Tables of a page: how the columns of a data frame are headed, aligned and sorted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.pages.numbers import MISSING, format_value

_LONGEST_WORD = 24


@dataclass(frozen=True)
class Table:
    """A data frame as a page shows it.

    Attributes:
        frame: The rows. Its index is not shown.
        caption: One sentence under the table; also what a screen reader announces.
        formats: Format specification by column (``{"exact_match": ".1%"}``); other values are written by their type.
        labels: Heading by column; otherwise the column's name with its underscores as spaces.
        max_rows: Rows shown at most; the page says how many there are.
    """

    frame: pd.DataFrame
    caption: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    max_rows: int = 500


@dataclass(frozen=True)
class Cell:
    """A value as it is read and as it is sorted."""

    text: str
    sort_key: str
    numeric: bool

    @property
    def long_word(self) -> bool:
        """Whether it holds a word that would make its column too wide."""
        return any(len(word) > _LONGEST_WORD for word in self.text.split())


def table_view(table: Table | pd.DataFrame) -> dict[str, Any]:
    """Returns what the template draws of a table.

    Returns:
        ``columns``: the ``label`` of each, and whether its values are ``numeric`` (aligned right, sorted by value);
        ``rows``: the cells of each; ``caption``; ``n_rows``, of which not all need be shown.
    """
    if isinstance(table, pd.DataFrame):
        table = Table(table)
    frame = table.frame
    numeric = [_is_numeric(frame.iloc[:, place]) for place in range(frame.shape[1])]
    names = [str(name) for name in frame.columns]
    columns = [
        {"label": table.labels.get(name, name.replace("_", " ")), "numeric": is_number}
        for name, is_number in zip(names, numeric, strict=True)
    ]
    shown = frame.head(table.max_rows)
    rows = [
        [
            Cell(format_value(value, table.formats.get(name)), _sort_key(value), is_number)
            for name, is_number, value in zip(names, numeric, row, strict=True)
        ]
        for row in shown.itertuples(index=False, name=None)
    ]
    return {"columns": columns, "rows": rows, "caption": table.caption, "n_rows": len(frame)}


def _is_numeric(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column.dtype)) and not pd.api.types.is_bool_dtype(column.dtype)


def _sort_key(value: Any) -> str:
    if isinstance(value, (int, float, np.integer, np.floating)) and not pd.isna(value):
        return repr(float(value))
    text = format_value(value)
    return "" if text == MISSING else text
