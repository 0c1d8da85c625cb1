"""Datasets that are one file, written whole or not at all: tables, JSON, text (HTML pages too) and plotly figures."""

from __future__ import annotations

import copy
import html
import json
import math
import re
from itertools import islice
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import fsspec
from kedro.io.core import get_filepath_str
from kedro_datasets._typing import JSONPreview, PlotlyPreview, TablePreview
from kedro_datasets.json import json_dataset
from kedro_datasets.pandas import csv_dataset, parquet_dataset
from kedro_datasets.text import text_dataset

from spelling_transfer.files import whole_file
from spelling_transfer.storage.access import check_transport
from spelling_transfer.storage.errors import (
    DatasetFileError,
    DatasetWriteError,
    cannot_read,
    cannot_write,
    explain_remote,
)

if TYPE_CHECKING:
    from kedro.io.core import AbstractVersionedDataset
    from plotly.graph_objects import Figure

    _Base = AbstractVersionedDataset[Any, Any]
else:
    _Base = object

_UTF8: dict[str, Any] = {
    "open_args_save": {"mode": "w", "encoding": "utf-8"},
    "open_args_load": {"mode": "r", "encoding": "utf-8"},
}

_LINE = 200
"""Longer lines are cut where a text is looked at."""


class WholeFile(_Base):
    """Mixin, first in the bases, that makes a file dataset of ``kedro-datasets`` write whole or not at all.

    The wrapped dataset always writes to a local file, which is then moved into place: by a rename on a local disk, by
    one upload elsewhere (fsspec would also upload what was written before an error). Versioned datasets work as usual.
    """

    _protocol: str
    _fs: fsspec.AbstractFileSystem

    def save(self, data: Any) -> None:
        """Saves ``data`` to the dataset's file.

        Raises:
            DatasetWriteError: The file cannot be written; whatever was there before is untouched.
        """
        target = get_filepath_str(self._get_save_path(), self._protocol)
        try:
            check_transport(self._fs)
            if self._protocol == "file":
                with whole_file(Path(target)) as partial:
                    self._save_to(partial, data)
            else:
                with TemporaryDirectory() as folder:
                    file = Path(folder) / PurePosixPath(target).name
                    self._save_to(file, data)
                    self._fs.put_file(str(file), target)
        except Exception as error:
            if self._version and isinstance(error, NotADirectoryError):
                raise  # a file from before it was versioned is in the way: Kedro says so, and what to do
            raise DatasetWriteError(cannot_write(self._location(target), error)) from error
        self._fs.invalidate_cache(target)

    def load(self) -> Any:
        """Loads the dataset's file.

        Raises:
            DatasetFileError: The file is missing or damaged.
        """
        target = get_filepath_str(self._get_load_path(), self._protocol)
        try:
            check_transport(self._fs)
            return super().load()  # type: ignore[safe-super]
        except Exception as error:
            made_by = (getattr(self, "metadata", None) or {}).get("made_by", "")
            raise DatasetFileError(cannot_read(self._location(target), error, made_by)) from error

    def _exists(self) -> bool:
        try:
            return bool(super()._exists())
        except Exception as error:
            if (message := explain_remote(error, self._location(str(self._filepath)), "read")) is None:
                raise
            raise DatasetFileError(message) from error

    def _save_to(self, file: Path, data: Any) -> None:
        # A copy of this dataset that points at a plain local file, so that the saving code is the original's.
        local = copy.copy(self)
        local._filepath = PurePosixPath(file.as_posix())
        local._version = None
        local._protocol, local._fs = "file", fsspec.filesystem("file")
        super(WholeFile, local).save(data)  # type: ignore[safe-super]

    def _location(self, target: str) -> str:
        return target if self._protocol == "file" else f"{self._protocol}://{target}"


class ParquetDataset(WholeFile, parquet_dataset.ParquetDataset):
    """A pandas frame as one Parquet file, compressed with zstd; arguments as in ``kedro-datasets``.

    To have the columns checked at load and save, name a Pandera schema under ``validator:`` in the catalog.
    """

    DEFAULT_SAVE_ARGS: dict[str, Any] = {"compression": "zstd"}

    def preview(self, nrows: int = 5) -> TablePreview:
        """Returns the first rows for Kedro-Viz; reads no more than it shows, credentials and all."""
        content = self.describe_content(nrows)
        rows = [list(row.values()) for row in content["head"]]
        return TablePreview({"index": list(range(len(rows))), "columns": list(content["schema"]), "data": rows})

    def describe_content(self, nrows: int) -> dict[str, Any]:
        """Returns the number of ``rows``, the ``schema`` (column to type) and the ``head``, without loading the table.

        Values are plain: where pandas would give arrays, Arrow gives lists.

        Raises:
            DatasetFileError: The file is missing or damaged.
        """
        import pyarrow.parquet as pq

        path = get_filepath_str(self._get_load_path(), self._protocol)
        try:
            with self._fs.open(path, "rb") as file, pq.ParquetFile(file) as parquet:
                batch = next(parquet.iter_batches(batch_size=nrows), None) if nrows else None
                return {
                    "rows": parquet.metadata.num_rows,
                    "schema": {field.name: str(field.type) for field in parquet.schema_arrow},
                    "head": batch.to_pylist() if batch is not None else [],
                }
        except Exception as error:
            raise DatasetFileError(cannot_read(self._location(path), error)) from error


class CSVDataset(WholeFile, csv_dataset.CSVDataset):
    """A pandas frame as one CSV file; arguments as in ``kedro-datasets``."""

    DEFAULT_FS_ARGS: dict[str, Any] = {"open_args_save": {"mode": "w", "encoding": "utf-8", "newline": ""}}


class JSONDataset(WholeFile, json_dataset.JSONDataset):
    """Anything JSON can hold, as one file; arguments as in ``kedro-datasets``."""

    DEFAULT_FS_ARGS: dict[str, Any] = _UTF8

    def preview(self, n_entries: int = 200) -> JSONPreview:
        """Returns for Kedro-Viz what it holds: of long lists and mappings the first entries, 20 of those within others.

        A browser draws each entry, and does not answer for minutes where there are 30,000.
        """
        return JSONPreview(json.dumps(_first_entries(self.load(), n_entries)))


def _first_entries(value: Any, n: int) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # a browser's JSON has no NaN
    if not isinstance(value, (dict, list)):
        return value
    more, within = f"{len(value) - n:,} more", min(n, 20)
    if isinstance(value, list):
        return [_first_entries(each, within) for each in value[:n]] + ([f"… {more}"] if len(value) > n else [])
    some = {key: _first_entries(each, within) for key, each in islice(value.items(), n)}
    return {**some, "…": more} if len(value) > n else some


class TextDataset(WholeFile, text_dataset.TextDataset):
    """A string as one UTF-8 file, HTML pages included; arguments as in ``kedro-datasets``."""

    DEFAULT_FS_ARGS: dict[str, Any] = _UTF8

    def describe_content(self, n_lines: int) -> dict[str, Any]:
        """Returns the number of ``lines`` and the first of them; of an HTML page the ``title`` and its first headings.

        Raises:
            DatasetFileError: The file is missing or damaged.
        """
        text = str(self.load())
        if not text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
            lines = text.splitlines()
            return {
                "lines": len(lines),
                "schema": {"lines": "str"},
                "head": [line[:_LINE] for line in lines[:n_lines]],
            }
        title = re.search(r"<title>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
        headings = re.findall(r"<h[12][^>]*>(.*?)</h[12]>", text, re.DOTALL | re.IGNORECASE)
        plain = [html.unescape(re.sub(r"<[^>]+>", "", heading)).strip() for heading in headings]
        return {
            "title": html.unescape(title[1]).strip() if title else "",
            "schema": {"headings": "str"},
            "head": plain[:n_lines],
        }

    def preview(self, n_lines: int = 40) -> JSONPreview:
        """Returns for Kedro-Viz where the file is and what it holds; it draws no HTML itself."""
        content = self.describe_content(n_lines)
        kind = "headings" if "title" in content else "lines"
        about = {"title": content["title"]} if "title" in content else {}
        place = self._location(get_filepath_str(self._get_load_path(), self._protocol))
        return JSONPreview(json.dumps({**about, kind: content["head"], "file": place}))


class _FigureFile(text_dataset.TextDataset):
    def save(self, data: Figure) -> None:
        super().save(data.to_json())

    def load(self) -> Figure:
        import plotly.io

        return plotly.io.from_json(super().load())


class PlotlyDataset(WholeFile, _FigureFile):
    """A plotly figure as one JSON file, which Kedro-Viz draws.

    The class of ``kedro-datasets`` imports plotly as soon as the catalog is read, and its extra asks for plotly 5.
    """

    DEFAULT_FS_ARGS: dict[str, Any] = _UTF8

    def describe_content(self, n_traces: int) -> dict[str, Any]:
        """Returns the kinds of its traces and its title, without the library that draws it.

        Raises:
            DatasetFileError: The file is missing or damaged.
        """
        path = get_filepath_str(self._get_load_path(), self._protocol)
        try:
            figure = json.loads(self._fs.cat_file(path))
            title = figure["layout"].get("title", {})
            traces = [{"type": trace.get("type"), "name": trace.get("name")} for trace in figure["data"]]
        except Exception as error:
            raise DatasetFileError(cannot_read(self._location(path), error)) from error
        title = title.get("text") if isinstance(title, dict) else title
        return {
            "traces": len(traces),
            "title": title,
            "schema": {"type": "str", "name": "str"},
            "head": traces[:n_traces],
        }

    def preview(self) -> PlotlyPreview:
        """Returns the figure for Kedro-Viz."""
        return PlotlyPreview(json.loads(self.load().to_json()))
