"""Judging what a run loads and saves: tables, settings, texts, model folders, tokenizers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import UncheckableError
from .findings import Finding
from .judge import Judge, Mode
from .policy import is_policy
from .scanner.data import judge_table
from .tokens import TOKENIZER_KEY
from .trees import read_json

_SETTINGS_FILES = (
    *("generation_config.json", "tokenizer_config.json", "config.json", "adapter_config.json", "chat_template.json"),
)
_PLAIN = frozenset({str, int, float, bool, type(None)})
_TABLE_LIBRARIES = frozenset({"pandas", "pyarrow", "polars"})


def judge_data(
    data: object, judge: Judge, *, deployment: bool = False, exported: bool = False
) -> Iterator[tuple[str, Finding]]:
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
    if pandas is not None and isinstance(data, pandas.Series):
        data = data.to_frame(name=str(data.name))
    if pandas is not None and isinstance(data, pandas.DataFrame):
        yield from judge_table(_arrow_table(data), judge)
    elif arrow is not None and isinstance(data, arrow.Table):
        yield from judge_table(data, judge)
    elif _library(data) == "polars" and hasattr(data, "to_arrow"):
        yield from judge_data(data.to_frame() if hasattr(data, "to_frame") else data.to_arrow(), judge)
    elif isinstance(data, str):
        # A page is read by people; any other text may be a prompt.
        if not data.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
            yield from (("", finding) for finding in judge.text(data, Mode.DATA))
    elif isinstance(data, (dict, list, tuple)):
        if not is_policy(data):
            yield from _tree(data, judge, deployment)
            yield from _judge_inside(data, judge, deployment)
    elif isinstance(data, type):
        return  # a class has the names of what its objects hold
    elif isinstance(folder := getattr(data, "path", data), Path) and folder.is_dir():
        yield from judge_folder(folder, judge, exported=exported)
    elif hasattr(data, "model_dump"):
        yield from _tree(data.model_dump(), judge, deployment)
    elif hasattr(data, "chat_template"):  # a tokenizer of transformers
        yield from (("chat_template", finding) for finding in judge.chat_template(data.chat_template))
    elif hasattr(data, "to_diff_dict"):  # a generation configuration of transformers
        yield from _tree(data.to_diff_dict(), judge, deployment)
    elif hasattr(data, "suffix_ids") and hasattr(data, "think_ids"):
        yield from _prompt_renderer(data, judge)


def judge_folder(folder: Path, judge: Judge, *, exported: bool) -> Iterator[tuple[str, Finding]]:
    """Yields what is wrong with a model folder, each with the name of its file: settings, template, sampling.

    Args:
        folder: The folder.
        judge: The rules.
        exported: Whether it was made here. A folder from the hub has the template and the sampling of its makers, which
            nothing here uses; one that leaves here takes both to servers.
    """
    for name in _SETTINGS_FILES:
        try:
            value = read_json((folder / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, UncheckableError):
            continue  # whoever loads the folder says what is wrong with it
        deployment = exported and name == "generation_config.json"
        for _, finding in judge.tree(value, deployment=deployment):
            if exported or finding.rule != "chat-template":
                yield name, finding
    template = folder / "chat_template.jinja"
    if exported and template.is_file():
        yield from ((template.name, finding) for finding in judge.chat_template(template.read_text(encoding="utf-8")))


def _tree(value: object, judge: Judge, deployment: bool) -> Iterator[tuple[str, Finding]]:
    for keys, finding in judge.tree(value, deployment=deployment):
        yield ".".join(map(str, keys)), finding


def _judge_inside(
    data: dict[Any, Any] | list[Any] | tuple[Any, ...], judge: Judge, deployment: bool
) -> Iterator[tuple[str, Finding]]:
    """Judges the tables and objects in a mapping or a list: partitions of a dataset, sheets of a workbook."""
    if set(map(type, data.values() if isinstance(data, dict) else data)) <= _PLAIN:
        return
    for key, entry in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(entry, (dict, list, tuple)):
            found = _judge_inside(entry, judge, deployment)
        elif _library(entry) in _TABLE_LIBRARIES or hasattr(entry, "model_dump"):
            found = judge_data(entry, judge, deployment=deployment)
        else:
            continue
        yield from ((f"{key}.{place}" if place else str(key), finding) for place, finding in found)


def _library(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def _prompt_renderer(data: Any, judge: Judge) -> Iterator[tuple[str, Finding]]:
    """Judges the object that renders prompts: with think tokens, its prompts end in the empty think block."""
    end = judge.policy.rules.think_token.prompt_end_ids
    if set(data.think_ids) & set(judge.policy.think_ids) and tuple(data.suffix_ids[-len(end) :]) != end:
        message = "prompts do not end in the empty think block"
        yield "suffix_ids", Finding("think-token", message, f"{tuple(data.suffix_ids)}, expected to end in {end}")


def _arrow_table(frame: Any) -> Any:
    """Returns a pandas frame as an Arrow table of the columns that Arrow can hold."""
    import pyarrow as pa

    columns = [(str(name), column) for name, series in frame.items() if (column := _arrow_column(series)) is not None]
    table = pa.table([column for _, column in columns], names=[name for name, _ in columns])
    if TOKENIZER_KEY in frame.attrs:
        table = table.replace_schema_metadata({TOKENIZER_KEY: str(frame.attrs[TOKENIZER_KEY])})
    return table


def _arrow_column(series: Any) -> Any:
    import pyarrow as pa

    try:
        column = pa.array(series, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        column = None
    if series.dtype == object and (column is None or pa.types.is_binary(column.type)):
        # Of a column of this and that the texts are judged, whatever half a character may be in them.
        texts = [value.encode("utf-8", "replace") if isinstance(value, str) else None for value in series]
        column = pa.array(texts, type=pa.large_binary()).cast(pa.large_string())
    return column
