"""Reads public benchmarks' files as they come: with a byte order mark, in UTF-16, from a spreadsheet, with gaps."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spelling_transfer.bench.base import BenchError, BrokenRow, Contents, Item, RowError

MOST_BROKEN = 0.5
"""A file with a larger share of broken rows is taken for another one, and nothing of it is asked."""

_STRAIGHT = str.maketrans("“”„‟‘’‚‛", "\"\"\"\"''''")
_DELIMITERS = "\t,;"
Row = Mapping[str, Any]


def needed(path: Path | None, name: str, needs: str) -> Path:
    """Returns the path of a set that cannot be generated.

    Raises:
        BenchError: None was given.
    """
    if path is None:
        raise BenchError(f"{name}: --file has to name {needs}.")
    return path


def load(path: Path, contents: Contents) -> bytes:
    """Returns a file's bytes and notes its hash.

    Raises:
        BenchError: It is not there, empty or may not be read.
    """
    try:
        data = path.read_bytes()
    except IsADirectoryError as error:
        raise BenchError(f"{path}: is a folder; --file has to name a file of this set.") from error
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror}). --file names your copy of the set.") from error
    if not data.strip():
        raise BenchError(f"{path}: is empty. Get it again.")
    contents.hashes[path.name] = hashlib.sha256(data).hexdigest()
    return data


def decode(data: bytes, path: Path) -> str:
    """Returns a file's text: UTF-8 or, by its first two bytes, UTF-16.

    Raises:
        BenchError: It is neither.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BenchError(f"{path}, line {line}: is neither UTF-8 nor UTF-16. Save it as UTF-8.") from error
    if "\0" in text:
        raise BenchError(f"{path}: holds bytes of no text. --file has to name a text file of this set.")
    return text


def table(path: Path, columns: Sequence[str], contents: Contents) -> list[tuple[str, Row]]:
    """Returns the rows of a table with tabs, commas or semicolons, each with where it stands.

    Quotes are those of spreadsheets: a field may be quoted, and a quote in it is doubled. A row of another length than
    the header goes to ``contents.broken``.

    Args:
        path: The file; ``.parquet`` and ``.jsonl`` are read too, since the hub gives sets in them.
        columns: Columns that must be there.
        contents: Notes the hash and broken rows.

    Raises:
        BenchError: A column is missing, or the file is no table.
    """
    data = load(path, contents)
    if path.suffix.lower() == ".parquet":
        return _parquet(path, data, columns)
    text = decode(data, path)
    if path.suffix.lower() in {".jsonl", ".json"}:
        return json_rows(path, text, columns, contents)
    head, _, rest = text.partition("\n")
    if head.startswith("sep="):  # spreadsheets put it before the header
        text, head = rest, rest.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[str, Row]] = []
    header: list[str] = []
    try:
        for cells in reader:
            if not header:
                header = [cell.strip().lower() for cell in cells]
                _check_columns(path, header, columns)
            elif len(cells) != len(header):
                if any(cell.strip() for cell in cells):
                    reason = f"{len(cells)} fields, the header has {len(header)}"
                    contents.broken.append(BrokenRow(f"{path.name}, line {reader.line_num}", reason))
            else:
                rows.append((f"{path.name}, line {reader.line_num}", dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise BenchError(f"{path}, line {reader.line_num}: a quote is never closed ({error}). Get it again.") from error
    return rows


def json_rows(path: Path, text: str, columns: Sequence[str], contents: Contents) -> list[tuple[str, Row]]:
    """Returns the rows of a file of one JSON object a line, or of one JSON list.

    Raises:
        BenchError: No line is an object with the columns.
    """
    rows: list[tuple[str, Row]] = []
    is_list = text.lstrip().startswith("[")
    lines: Iterable[Any] = parse_json(path, text) if is_list else io.StringIO(text, newline=None)
    for number, line in enumerate(lines, start=1):
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line) if isinstance(line, str) else line
        except ValueError:
            contents.broken.append(BrokenRow(where, "not JSON"))
            continue
        if not isinstance(row, dict) or any(column not in row for column in columns):
            contents.broken.append(BrokenRow(where, f"not an object with {', '.join(columns)}"))
            continue
        rows.append((where, row))
    if not rows:
        raise BenchError(f"{path}: no row of it is an object with {', '.join(columns)}. It is not a file of this set.")
    return rows


def parse_json(path: Path, text: str) -> Any:
    """Returns what a JSON file holds.

    Raises:
        BenchError: It is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise BenchError(f"{path}: is not JSON ({error}). Get it again.") from error


def _parquet(path: Path, data: bytes, columns: Sequence[str]) -> list[tuple[str, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(io.BytesIO(data)).to_pylist()
    except pa.ArrowException as error:
        raise BenchError(f"{path}: is no Parquet file, or cut short ({error}). Get it again.") from error
    _check_columns(path, list(rows[0]) if rows else [], columns)
    return [(f"{path.name}, row {number}", row) for number, row in enumerate(rows, start=1)]


def _check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in found]
    if missing:
        raise BenchError(
            f"{path}: has no column {', '.join(missing)}; it has {', '.join(found)[:80] or 'none'}. "
            "It is not a file of this set, or of another version."
        )


def fill(contents: Contents, rows: Iterable[tuple[str, Row]], make: Callable[[Row], Item | None]) -> None:
    """Turns rows into items; those that ``make`` refuses are noted as broken.

    Args:
        contents: Takes both.
        rows: Rows with where each stands.
        make: Makes an item of a row; ``None`` for one that does not belong here. It raises RowError, and where a
            value is missing or no number, KeyError, TypeError or ValueError.
    """
    seen = {item.item_id for item in contents.items}
    for where, row in rows:
        try:
            item = make(row)
            if item is not None and item.item_id in seen:
                raise RowError(f"{item.item_id} is there twice")
        except RowError as error:
            contents.broken.append(BrokenRow(where, str(error)))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            contents.broken.append(BrokenRow(where, f"a value is missing or of another kind ({error})"))
        else:
            if item is not None:
                seen.add(item.item_id)
                contents.items.append(item)


def check(contents: Contents, path: Path, versions: Mapping[str, str]) -> Contents:
    """Refuses a file of which too little could be read, and says which version it is.

    Args:
        contents: What was read.
        path: The user's file or folder.
        versions: Hash of each file known, with what it is.

    Raises:
        BenchError: No row, or fewer than half of them, could be read.
    """
    broken, total = len(contents.broken), len(contents.broken) + len(contents.items)
    if not contents.items or broken > MOST_BROKEN * total:
        first = f" (first: {contents.broken[0].where}: {contents.broken[0].reason})" if contents.broken else ""
        raise BenchError(
            f"{path}: {broken} of {total} rows cannot be used{first}. It is not a file of this set, or it is damaged."
        )
    if versions:
        known = [versions.get(sha256) for sha256 in contents.hashes.values()]
        contents.version = known[0] or "" if len(set(known)) == 1 else ""
        contents.version = contents.version or "unknown: its hash is none of those on record"
    return contents


def cell(row: Row, column: str) -> str:
    """Returns a field as text, without blanks around it, and with straight quotes for those of word processors.

    Raises:
        RowError: It is empty.
    """
    value = row[column]
    text = "" if value is None else str(value).translate(_STRAIGHT).strip()
    if not text:
        raise RowError(f"{column} is empty")
    return text


def whole_number(row: Row, column: str) -> int:
    """Returns a field that holds a whole number; spreadsheets write 3 as 3.0.

    Raises:
        RowError: It holds something else.
    """
    text = cell(row, column).removesuffix(".0")
    if not text.isdecimal():
        raise RowError(f"{column} is {text[:20]!r}, not a whole number")
    return int(text)


def agree(stated: object, found: object, what: str) -> None:
    """Checks a row's answer against the letters.

    Raises:
        RowError: The set's answer is not what its own question asks for.
    """
    if stated != found:
        raise RowError(f"its answer is {stated!r}, the letters of {what[:40]!r} say {found!r}")
