"""Judging what a run loads and saves: tables with texts and token ids, settings, texts, model folders."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .judge import Judge, Mode
from .keys import Problem, normalise_key
from .rules import Policy
from .text import DRAWN_LIKE
from .tokens import TOKENIZER_KEY, judge_answers, judge_examples, judge_prompts, named_tokenizer

if TYPE_CHECKING:
    import pyarrow as pa

# A superset of what TextRules finds: every row that could hold a tag or a soft switch, found without Python. A tag
# has an opening bracket, or what is drawn like one, or an escape; letters of other alphabets alone are no reason.
_CANDIDATE = (
    r"(?i)<[\s/\\|]*(t|[^\x00-\x7f])|["
    + "".join(char for char in DRAWN_LIKE["<"] + DRAWN_LIKE["/"] + "\uff1c\ufe64\uff0f")
    + r"]|&(lt|#|amp)|\\+(u|x|0?7)|%[0-9a-f]{2}|/th|/t?[^\x00-\x7f]"
)
_MARKS = (b"<", b"&", b"\\", b"%", b"/t", b"/T")
_PROMPT_BLOCK = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
_LABEL_START = "label_start"
_PROMPT_COLUMNS = re.compile(r"(?:^|_)(?:input_ids|prompt\w*|prefix_ids|context_ids)$")
_TEXT_FILES = (
    "generation_config.json",
    "tokenizer_config.json",
    "config.json",
    "adapter_config.json",
    "chat_template.json",
)


def judge_table(table: pa.Table, judge: Judge) -> Iterator[tuple[str, Problem]]:
    """Yields what is wrong with a table, each with the name of its column.

    Columns of lists of integers are token ids. Beside a column ``label_start`` they are examples, whose prompts end in
    the empty think block unless the table's metadata name another tokenizer (``tokenizer_sha256``); columns that are
    named as prompts may hold the whole block; all others hold no think token.
    """
    vocabulary_rows = _vocabulary_rows(table, judge)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if _is_list_of_integers(column.type):
            problem = _judge_ids(name, column, table, judge)
            if problem is not None:
                yield name, problem
            continue
        for inner, texts in _texts(name, column):
            rows = vocabulary_rows if len(texts) == table.num_rows else None
            yield from ((inner, problem) for problem in _judge_texts(texts, judge, rows))
            if normalise_key(inner) in judge.policy.rules.reasoning_content.keys:
                yield from _thoughts(inner, texts)


def judge_frame(frame: Any, judge: Judge) -> Iterator[tuple[str, Problem]]:
    """Yields what is wrong with a pandas frame, as :func:`judge_table` does."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in frame.columns:
        series = frame[name]
        column = _arrow_column(series)
        if column is not None:
            columns[str(name)] = column
    if columns:
        table = pa.table(columns)
        if TOKENIZER_KEY in frame.attrs:
            table = table.replace_schema_metadata({TOKENIZER_KEY: str(frame.attrs[TOKENIZER_KEY])})
        yield from judge_table(table, judge)


def judge_folder(folder: Path, judge: Judge, *, exported: bool) -> Iterator[tuple[str, Problem]]:
    """Yields what is wrong with a model folder, each with the name of its file: settings, template, sampling.

    Args:
        folder: The folder.
        judge: The rules.
        exported: Whether it was made here. A folder from the hub has the template and the sampling of its makers, which
            nothing here uses; one that leaves here takes both to servers.
    """
    from .scanner.config_files import read_json
    from .scanner.source import UncheckableError

    for name in _TEXT_FILES:
        file = folder / name
        if not file.is_file():
            continue
        try:
            value = read_json(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, UncheckableError):
            continue  # whoever loads the folder says what is wrong with it
        deployment = exported and name == "generation_config.json"
        for _, problem in judge.tree(value, deployment=deployment):
            if exported or problem.rule != "chat-template":
                yield name, problem
    template = folder / "chat_template.jinja"
    if exported and template.is_file():
        yield from ((template.name, problem) for problem in judge.chat_template(template.read_text(encoding="utf-8")))


def judge_data(
    data: object, judge: Judge, *, deployment: bool = False, exported: bool = False
) -> Iterator[tuple[str, Problem]]:
    """Yields what is wrong with anything that a dataset holds, each with its place inside.

    Objects of libraries are only looked at if their library is loaded already: a check imports nothing heavy.

    Args:
        data: What is to be saved or was loaded.
        judge: The rules.
        deployment: Whether it belongs to a deployment, where sampling values are fixed.
        exported: Whether a model folder was made here.
    """
    pandas = sys.modules.get("pandas")
    arrow = sys.modules.get("pyarrow")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        yield from judge_frame(data, judge)
    elif pandas is not None and isinstance(data, pandas.Series):
        yield from judge_frame(data.to_frame(name=str(data.name)), judge)
    elif arrow is not None and isinstance(data, arrow.Table):
        yield from judge_table(data, judge)
    elif isinstance(data, str):
        # A page is read by people; any other text may be a prompt.
        if not data.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
            yield from (("", problem) for problem in judge.string(data, Mode.DATA))
    elif isinstance(data, (dict, list, tuple)):
        if _is_policy(data):
            return
        tree = judge.tree(data, deployment=deployment)
        yield from ((".".join(map(str, path)), problem) for path, problem in tree)
    elif isinstance(folder := getattr(data, "path", data), Path) and folder.is_dir():
        yield from judge_folder(folder, judge, exported=exported)
    elif hasattr(data, "model_dump"):
        tree = judge.tree(data.model_dump(), deployment=deployment)
        yield from ((".".join(map(str, path)), problem) for path, problem in tree)
    elif hasattr(data, "chat_template"):  # a tokenizer of transformers
        yield from (("chat_template", problem) for problem in judge.chat_template(data.chat_template))
    elif hasattr(data, "to_diff_dict"):  # a generation configuration of transformers
        tree = judge.tree(data.to_diff_dict(), deployment=deployment)
        yield from ((".".join(map(str, path)), problem) for path, problem in tree)
    elif hasattr(data, "suffix_ids") and hasattr(data, "think_ids"):
        yield from _judge_prompt_renderer(data, judge)


def _is_policy(data: object) -> bool:
    """Whether a mapping is the policy itself, whose lists of what is forbidden are no violation."""
    from pydantic import ValidationError

    if not isinstance(data, dict) or data.keys() != Policy.model_fields.keys():
        return False
    try:
        Policy.model_validate(data)
    except ValidationError:
        return False
    return True


def _judge_prompt_renderer(data: Any, judge: Judge) -> Iterator[tuple[str, Problem]]:
    """Judges the object that renders prompts: with think tokens, its prompts end in the empty think block."""
    end = judge.policy.rules.think_token.prompt_end_ids
    if set(data.think_ids) & set(judge.policy.think_ids) and tuple(data.suffix_ids[-len(end) :]) != end:
        message = "prompts do not end in the empty think block"
        yield "suffix_ids", Problem("think-token", message, f"{tuple(data.suffix_ids)}, expected to end in {end}")


def _is_list_of_integers(kind: Any) -> bool:
    import pyarrow as pa

    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_list(kind) for is_list in lists) and bool(pa.types.is_integer(kind.value_type))


def _texts(name: str, column: Any) -> Iterator[tuple[str, Any]]:
    """Yields the texts of a column: itself, or those inside lists and records, such as messages of a conversation."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield name, column
    elif pa.types.is_dictionary(kind):  # each text once
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            yield from _texts(name, chunk.dictionary)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            yield from _texts(name, chunk.flatten())
    elif pa.types.is_struct(kind):
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            for field, inner in zip(kind, chunk.flatten(), strict=True):
                yield from _texts(f"{name}.{field.name}", inner)


def _arrow_column(series: Any) -> Any:
    """Returns a column as Arrow, or ``None`` if it holds neither texts nor lists of integers."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(series.dtype, pd.CategoricalDtype):
        return pa.array(series)
    if pd.api.types.is_integer_dtype(series.dtype):
        return pa.array(series.to_numpy(dtype="int64", na_value=-1))
    if not (pd.api.types.is_string_dtype(series.dtype) or series.dtype == object):
        if isinstance(series.dtype, pd.ArrowDtype):
            return pa.chunked_array([pa.array(series)])
        return None
    if series.dtype == object:
        return _object_column(series)
    return pa.array(series, type=pa.large_string(), from_pandas=True)


def _object_column(series: Any) -> Any:
    import pyarrow as pa

    first = next((value for value in series if value is not None), None)
    if isinstance(first, str):
        try:
            return pa.array(series, type=pa.large_string(), from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([value if isinstance(value, str) else None for value in series], type=pa.large_string())
    if isinstance(first, (list, tuple, np.ndarray, dict)):
        try:
            return pa.array(series, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            return None  # lists that hold this and that
    return None


def _judge_texts(column: Any, judge: Judge, vocabulary_rows: npt.NDArray[np.bool_] | None) -> Iterator[Problem]:
    import pyarrow.compute as pc

    if not _may_hold_marks(column):
        return
    # A rendered prompt holds the empty block, which is fine: taken out, few rows are left to look at closely.
    plain = pc.replace_substring(column, _PROMPT_BLOCK, "")
    candidates = pc.fill_null(pc.match_substring_regex(plain, _CANDIDATE), False)
    if vocabulary_rows is not None:
        candidates = pc.and_(candidates, _as_mask(~vocabulary_rows))
    found = 0
    rows = np.flatnonzero(_to_numpy(candidates))
    for row, text in zip(rows, column.take(rows).to_pylist(), strict=True):
        for problem in judge.string(text, Mode.DATA):
            found += 1
            yield Problem(problem.rule, f"{problem.message} in row {int(row)}", problem.value)
        if found >= 10:
            return


def _may_hold_marks(column: Any) -> bool:
    """Looks at all texts of a column at once: without one of these bytes none of them needs a closer look."""
    chunks = column.chunks if hasattr(column, "chunks") else [column]
    buffers = {data.address: data for chunk in chunks if (data := chunk.buffers()[2]) is not None}
    for data in buffers.values():
        text = data.to_pybytes()
        if not text.isascii() or any(mark in text for mark in _MARKS):
            return True
    return False


def _thoughts(name: str, column: Any) -> Iterator[tuple[str, Problem]]:
    import pyarrow.compute as pc

    filled = pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0), False)
    rows = np.flatnonzero(_to_numpy(filled))
    if rows.size:
        yield name, Problem("reasoning-content", f"{rows.size} rows hold thoughts", f"row {int(rows[0])}")


def _judge_ids(name: str, column: Any, table: Any, judge: Judge) -> Problem | None:
    values, starts = _flat(column)
    where = f"column {name}"
    examples = normalise_key(name) == "input_ids" and _LABEL_START in table.column_names
    if examples:
        label_starts = table.column(_LABEL_START).to_numpy()
        return judge_examples(values, starts, label_starts, judge.policy, where, named_tokenizer(table.schema.metadata))
    judged = judge_prompts if _PROMPT_COLUMNS.search(normalise_key(name)) else judge_answers
    return judged(values, judge.policy, where)


def _flat(column: Any) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]:
    """Returns the ids of all rows one after the other, and where each row begins; a null row is empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=column.type)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    flat = array.flatten()
    if flat.null_count:
        flat = pc.fill_null(flat, -1)
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return flat.to_numpy(zero_copy_only=False), starts


def _vocabulary_rows(table: Any, judge: Judge) -> npt.NDArray[np.bool_] | None:
    """Returns the rows about the think tokens themselves: a table of the vocabulary has their ids in a column."""
    import pyarrow as pa

    rows = None
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_integer(column.type) and re.search(r"(?:^|_)(?:id|token|token_id)$", normalise_key(name)):
            found = np.isin(column.fill_null(-1).to_numpy(), judge.policy.think_ids)
            rows = found if rows is None else rows | found
    return rows if rows is not None and rows.any() else None


def _as_mask(rows: npt.NDArray[np.bool_]) -> Any:
    import pyarrow as pa

    return pa.array(rows)


def _to_numpy(mask: Any) -> npt.NDArray[np.bool_]:
    array: npt.NDArray[np.bool_] = np.asarray(mask.to_numpy(zero_copy_only=False) if hasattr(mask, "type") else mask)
    return array
