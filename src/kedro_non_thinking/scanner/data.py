"""Data: JSON lines, comma-separated values, tables. A tag is a violation here, whatever the sentence around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UncheckableError
from ..findings import Finding, shorten
from ..judge import Judge, Mode
from ..settings import normalise_key
from ..text import DRAWN_LIKE, line_of
from ..tokens import LABEL_START, TOKENIZER_KEY, judge_column, judge_prompts, named_tokenizer
from ..trees import PairList
from .files import Source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ID_LIST = re.compile(r"\[\s*\d+(?:[\s,]+\d+)*\s*\]")
# A superset of what TextRules finds: every row that could hold a tag or a soft switch, found without Python. A tag
# has an opening bracket, or what is drawn like one, or an escape; letters of other alphabets alone are no reason.
_CANDIDATE = (
    r"(?i)<[\s/\\|]*(t|[^\x00-\x7f])|["
    + "".join(char for char in DRAWN_LIKE["<"] + DRAWN_LIKE["/"] + "\uff1c\ufe64\uff0f")
    + r"]|&(lt|#|amp)|\\+(u|x|0?7)|%[0-9a-f]{2}|/th|/t?[^\x00-\x7f]"
)
_PROMPT_BLOCK = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
_MOST_FOUND = 10
"""Rows of a column that are reported; where there are more, the rest is of the same kind."""
_ID_COLUMN = re.compile(r"(?:^|_)(?:id|token|token_id)$")


def scan_json_lines(source: Source) -> Iterator[Finding]:
    """Judges JSON lines.

    Raises:
        UncheckableError: A line is not JSON.
    """
    for number, line in enumerate(source.text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=PairList)
        except (ValueError, RecursionError) as error:
            raise UncheckableError(f"not valid JSON lines ({error}, line {number})") from error
        if isinstance(value, PairList):
            ids = {key: entry for key, entry in value if _is_ids(entry)}
            value = PairList((key, None if key in ids else entry) for key, entry in value)
            yield from source.on_line(number, _record_ids(ids, dict(value), source.judge))
        yield from source.on_line(number, (found for _, found in source.judge.tree(value, mode=Mode.DATA)))


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _record_ids(ids: dict[str, list[int]], record: dict[str, Any], judge: Judge) -> Iterator[Finding]:
    """Judges the token ids of one record as a table of one row."""
    import numpy as np

    start, tokenizer = record.get(LABEL_START), record.get(TOKENIZER_KEY)
    for key, entry in ids.items():
        finding = judge_column(
            normalise_key(key),
            key,
            np.asarray(entry, dtype=np.int64),
            judge.policy,
            row_starts=np.asarray([0, len(entry)]),
            label_starts=np.asarray([start]) if type(start) is int else None,
            tokenizer_sha256=tokenizer if isinstance(tokenizer, str) else None,
        )
        if finding is not None:
            yield finding


def scan_table_text(source: Source) -> Iterator[Finding]:
    """Judges comma- or tab-separated values."""
    import numpy as np

    judge = source.judge
    normalised = judge.text_rules.normalise(source.text)
    lines = normalised.split("\n")
    for finding in source.judge.text(source.text, Mode.DATA):
        # A row of a vocabulary: the id and the tag itself.
        line = lines[finding.line - 1]
        if finding.rule != "think-tag" or not any(str(token) in line for token in judge.policy.think_ids):
            yield from source.place([finding])
    for match in _ID_LIST.finditer(normalised):
        ids = np.asarray([int(number) for number in re.findall(r"\d+", match[0])], dtype=np.int64)
        found = judge_prompts(ids, judge.policy, "a list of ids")
        if found is not None:
            place = line_of(normalised, match.start())
            yield from source.place([replace(found, value=shorten(match[0]), line=place)])


def scan_parquet(file: Path, shown: str, judge: Judge) -> list[Finding]:
    """Judges a Parquet file, one row group after the other.

    Raises:
        UncheckableError: The file is not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file)
        groups = (parquet.read_row_group(group) for group in range(parquet.num_row_groups))
        found = [entry for group in groups for entry in judge_table(group, judge)]
    except (pa.ArrowException, OSError) as error:
        raise UncheckableError(f"not valid Parquet ({str(error).splitlines()[0]})") from error
    return [finding.at(f"{shown}#{column}") for column, finding in found]


# -- tables ------------------------------------------------------------------------------------------------------------


def judge_table(table: Any, judge: Judge) -> Iterator[tuple[str, Finding]]:
    """Yields what is wrong with an Arrow table, each with the name of its column.

    Columns of lists of integers are token ids. Beside a column ``label_start`` they are examples, whose prompts end in
    the empty think block unless the table's metadata name another tokenizer (``tokenizer_sha256``); columns that are
    named as prompts may hold the whole block; all others hold no think token.
    """
    vocabulary_rows = _vocabulary_rows(table, judge)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if _is_list_of_integers(column.type):
            finding = _judge_ids(name, column, table, judge)
            if finding is not None:
                yield name, finding
            continue
        for inner, texts in _texts(name, column):
            rows = vocabulary_rows if len(texts) == table.num_rows else None
            yield from ((inner, finding) for finding in _judge_texts(texts, judge, rows))
            if normalise_key(inner) in judge.policy.rules.reasoning_content.keys:
                yield from _thoughts(inner, texts)


def _is_list_of_integers(kind: Any) -> bool:
    import pyarrow as pa

    return _is_list(kind) and bool(pa.types.is_integer(kind.value_type))


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return any(holds(kind) for holds in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _texts(name: str, column: Any) -> Iterator[tuple[str, Any]]:
    """Yields the texts of a column: itself, or those inside lists and records, such as messages of a conversation."""
    import pyarrow as pa

    kind = column.type
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield name, column
    elif pa.types.is_dictionary(kind):  # each text once
        for chunk in chunks:
            yield from _texts(name, chunk.dictionary)
    elif _is_list(kind):
        for chunk in chunks:
            yield from _texts(name, chunk.flatten())
    elif pa.types.is_struct(kind):
        for chunk in chunks:
            for field, inner in zip(kind, chunk.flatten(), strict=True):
                yield from _texts(f"{name}.{field.name}", inner)


def _judge_texts(column: Any, judge: Judge, vocabulary_rows: npt.NDArray[np.bool_] | None) -> Iterator[Finding]:
    import numpy as np
    import pyarrow.compute as pc

    # A rendered prompt holds the empty block, which is fine: taken out, few rows are left to look at closely.
    plain = pc.replace_substring(column, _PROMPT_BLOCK, "")
    candidates = _to_numpy(pc.fill_null(pc.match_substring_regex(plain, _CANDIDATE), False))
    rows = np.flatnonzero(candidates if vocabulary_rows is None else candidates & ~vocabulary_rows)
    found = 0
    for row, text in zip(rows, column.take(rows).to_pylist(), strict=True):
        for finding in judge.text(text, Mode.DATA):
            found += 1
            yield Finding(finding.rule, f"{finding.message} in row {int(row)}", finding.value)
        if found >= _MOST_FOUND:
            return


def _thoughts(name: str, column: Any) -> Iterator[tuple[str, Finding]]:
    import numpy as np
    import pyarrow.compute as pc

    filled = pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0), False)
    rows = np.flatnonzero(_to_numpy(filled))
    if rows.size:
        yield name, Finding("reasoning-content", f"{rows.size} rows hold thoughts", f"row {int(rows[0])}")


def _judge_ids(name: str, column: Any, table: Any, judge: Judge) -> Finding | None:
    """Judges a column of lists of ids; a null row is empty."""
    import numpy as np
    import pyarrow.compute as pc

    array = column.combine_chunks()
    ids = array.flatten().fill_null(0)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    examples = LABEL_START in table.column_names
    return judge_column(
        normalise_key(name),
        f"column {name}",
        ids.to_numpy(zero_copy_only=False),
        judge.policy,
        row_starts=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        label_starts=table.column(LABEL_START).to_numpy() if examples else None,
        tokenizer_sha256=named_tokenizer(table.schema.metadata),
    )


def _vocabulary_rows(table: Any, judge: Judge) -> npt.NDArray[np.bool_] | None:
    """Returns the rows about the think tokens themselves: a table of the vocabulary has their ids in a column."""
    import numpy as np
    import pyarrow as pa

    rows = None
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_integer(column.type) and _ID_COLUMN.search(normalise_key(name)):
            found = np.isin(column.to_numpy(), judge.policy.think_ids)
            rows = found if rows is None else rows | found
    return rows if rows is not None and rows.any() else None


def _to_numpy(mask: Any) -> npt.NDArray[np.bool_]:
    import numpy as np

    array: npt.NDArray[np.bool_] = np.asarray(mask.to_numpy(zero_copy_only=False))
    return array
