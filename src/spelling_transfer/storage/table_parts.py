"""A table that grows: a folder of Parquet files, each written once and whole, on a disk or an object store.

No file is ever changed, so two processes that add at once lose nothing of one another, and a process that is killed
leaves what it had added.
"""

from __future__ import annotations

import io
import logging
import uuid
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import fsspec
from kedro.io import AbstractDataset, DatasetError
from kedro.io.core import get_protocol_and_path

from spelling_transfer import __version__
from spelling_transfer.storage.access import check_transport, write_whole
from spelling_transfer.storage.errors import DatasetFileError, DatasetWriteError, cannot_read, cannot_write, reason
from spelling_transfer.storage.runs import who

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)

ORIGIN = ("saved_at", "by", "run_id", "version")
"""Columns that say of each row who added it: the time (UTC), user and machine, Kedro's run, and the code."""


class TableParts:
    """The handle to a table that grows; what a node gets.

    Args:
        filesystem: Where it is.
        path: Its folder there.
        location: The folder, for messages.
        run_id: Kedro's id of the run, kept with each row.
    """

    def __init__(self, filesystem: fsspec.AbstractFileSystem, path: str, location: str, run_id: str = "") -> None:
        self._fs, self._path, self._location, self._run_id = filesystem, path, location, run_id

    def read(self) -> pd.DataFrame:
        """Returns all rows in the order in which they were added, with the columns of :data:`ORIGIN`.

        A file that is damaged is named in a warning and left out.

        Raises:
            DatasetFileError: The place cannot be read.
        """
        import pandas as pd

        try:
            check_transport(self._fs)
            names = self._names()
            contents = self._fs.cat(names, on_error="return") if names else {}
        except Exception as error:
            raise DatasetFileError(cannot_read(self._location, error)) from error
        frames = []
        for name in names:
            try:
                if isinstance(content := contents[name], Exception):
                    raise content
                frame = pd.read_parquet(io.BytesIO(content))
                if missing := set(ORIGIN) - set(frame.columns):
                    raise ValueError(f"it has no column {', '.join(sorted(missing))}")
            except Exception as error:  # noqa: BLE001 - what one file lacks, the others have
                _LOG.warning("%s: cannot be read and is left out (%s).", name, reason(error))
            else:
                frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(ORIGIN))

    def add(self, rows: pd.DataFrame) -> None:
        """Adds rows.

        Raises:
            DatasetWriteError: They cannot be written; what was there before is untouched.
        """
        now = datetime.now(UTC)
        origin = (now.isoformat(timespec="milliseconds"), who(), self._run_id, __version__)
        data = rows.assign(**dict(zip(ORIGIN, origin, strict=True))).to_parquet(compression="zstd", index=False)
        path = f"{self._path}/{now:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}.parquet"
        try:
            check_transport(self._fs)
            write_whole(self._fs, path, data)
        except Exception as error:
            raise DatasetWriteError(cannot_write(path, error)) from error
        self._fs.invalidate_cache(self._path)

    def _names(self) -> list[str]:
        self._fs.invalidate_cache(self._path)
        try:
            found = self._fs.ls(self._path, detail=False)
        except FileNotFoundError:
            return []
        names = [str(name) for name in found]
        return sorted(name for name in names if name.endswith(".parquet") and "/." not in name)


class TablePartsDataset(AbstractDataset[Any, TableParts]):
    """Gives a :class:`TableParts`, which nodes read and add to while they run: an input and never an output."""

    run_id: ClassVar[str] = ""
    """Kedro's id of the run that is going on; the storage hook sets it."""

    def __init__(
        self, *, filepath: str, credentials: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Points at a folder.

        Args:
            filepath: The folder, local or a URL; relative paths start at the project's root.
            credentials: For a URL, as fsspec takes them.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        self._protocol, path = get_protocol_and_path(filepath)
        self._fs = fsspec.filesystem(self._protocol, **(credentials or {}))
        self._filepath = PurePosixPath(path)
        self.metadata = metadata

    def load(self) -> TableParts:
        """Returns the handle; nothing is read yet."""
        path = self._filepath.as_posix()
        location = path if self._protocol == "file" else f"{self._protocol}://{path}"
        return TableParts(self._fs, path, location, self.run_id)

    def save(self, data: Any) -> None:
        """Refuses: a node adds to the table while it runs.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("a growing table cannot be an output: nodes take it as an input and add to it.")

    def describe_content(self, nrows: int) -> dict[str, Any]:
        """Returns the number of ``rows``, the ``schema`` (column to type) and the ``head``, in plain values."""
        import pyarrow as pa

        table = pa.Table.from_pandas(self.load().read(), preserve_index=False)
        schema = {field.name: str(field.type) for field in table.schema}
        return {"rows": table.num_rows, "schema": schema, "head": table.slice(0, nrows).to_pylist()}

    def _exists(self) -> bool:
        try:
            check_transport(self._fs)
            self._fs.invalidate_cache(self._filepath.as_posix())
            return bool(self._fs.exists(self._filepath.as_posix()))
        except Exception as error:
            raise DatasetFileError(cannot_read(self._filepath.as_posix(), error)) from error

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "protocol": self._protocol}
