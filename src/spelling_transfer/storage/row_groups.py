"""The row groups of a table in several Parquet files: what they are, one of them, and the next ones ahead of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import fsspec

from spelling_transfer.errors import causes
from spelling_transfer.storage.whole import DatasetFileError, cannot_read

if TYPE_CHECKING:
    import pyarrow as pa

_FOOTERS_AT_ONCE = 8


class RowGroup(NamedTuple):
    """Where some rows are.

    Attributes:
        file: Number of the file.
        group: Number of the row group in it.
        rows: Its rows.
    """

    file: int
    group: int
    rows: int


class _Part(NamedTuple):
    info: dict[str, Any]
    """What the file system says of the file: its size, and by what to tell that it was replaced."""
    metadata: Any
    schema: Any


class RowGroups:
    """The row groups of a table, by number. May be read from several threads."""

    def __init__(self, files: Sequence[str], filesystem: fsspec.AbstractFileSystem, columns: list[str] | None) -> None:
        """Reads the footers; no row is read yet.

        Args:
            files: The files, in order.
            filesystem: Where they are.
            columns: Columns to read; all if ``None``.

        Raises:
            DatasetFileError: A file is missing or damaged, or is not of the same table.
        """
        self._files, self._fs, self._columns = list(files), filesystem, columns
        if not self._files:
            raise DatasetFileError("there are no Parquet files to read.")
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            self._parts = list(pool.map(self._read_footer, self._files))
        self.schema: pa.Schema = self._parts[0].schema
        for path, part in zip(self._files, self._parts, strict=True):
            if not part.schema.equals(self.schema):
                raise DatasetFileError(
                    f"{self._place(path)}: its columns are not those of {self._place(self._files[0])}."
                )
        self.groups = [
            RowGroup(number, group, part.metadata.row_group(group).num_rows)
            for number, part in enumerate(self._parts)
            for group in range(part.metadata.num_row_groups)
        ]

    @property
    def sizes(self) -> list[int]:
        """Bytes of each file."""
        return [int(part.info["size"]) for part in self._parts]

    def read(self, index: int) -> pa.Table:
        """Returns a row group.

        Raises:
            DatasetFileError: The file is damaged, or was replaced since its footer was read.
        """
        import pyarrow.parquet as pq

        group = self.groups[index]
        path, part = self._files[group.file], self._parts[group.file]
        # Pages carry a checksum where this project has written them, so a flipped byte is not taken for data.
        with (
            self._opened(path, part.info) as stream,
            pq.ParquetFile(stream, metadata=part.metadata, page_checksum_verification=True, pre_buffer=True) as parquet,
        ):
            return parquet.read_row_group(group.group, columns=self._columns, use_threads=False)

    def _read_footer(self, path: str) -> _Part:
        import pyarrow.parquet as pq

        try:
            info = dict(self._fs.info(path))
        except Exception as error:
            raise DatasetFileError(cannot_read(self._place(path), error)) from error
        with self._opened(path, info) as stream, pq.ParquetFile(stream) as parquet:
            return _Part(info, parquet.metadata, parquet.schema_arrow)

    @contextmanager
    def _opened(self, path: str, info: dict[str, Any]) -> Iterator[Any]:
        """Opens a file so that what is asked for is read, and no more: pyarrow asks for a row group at once."""
        try:
            if self._is_local() and _version(self._fs.info(path)) != _version(info):
                raise DatasetFileError(self._replaced(path))
            with self._fs.open(path, "rb", cache_type="none", size=info["size"]) as stream:
                if isinstance(stream, fsspec.spec.AbstractBufferedFile):
                    stream.details = info  # else each opening asks for it; with it s3fs sees that a file was replaced
                yield stream
        except DatasetFileError:
            raise
        except Exception as error:
            # It was there when its footer was read; the second is what s3fs raises where the object is another now.
            if any(type(cause).__name__ in {"FileNotFoundError", "FileExpired"} for cause in causes(error)):
                raise DatasetFileError(self._replaced(path)) from error
            raise DatasetFileError(cannot_read(self._place(path), error)) from error

    def _replaced(self, path: str) -> str:
        return f"{self._place(path)}: was replaced while the table was read. Load the dataset anew."

    def _is_local(self) -> bool:
        return "file" in ([self._fs.protocol] if isinstance(self._fs.protocol, str) else self._fs.protocol)

    def _place(self, path: str) -> str:
        protocol = self._fs.protocol if isinstance(self._fs.protocol, str) else self._fs.protocol[0]
        return path if self._is_local() else f"{protocol}://{path}"


def _version(info: dict[str, Any]) -> list[Any]:
    return [info.get(key) for key in ("size", "mtime", "ino")]


class ReadAhead:
    """Makes things in the order in which they will be asked for, a few of them before they are."""

    def __init__(self, make: Callable[[int], Any], ahead: int) -> None:
        """Starts nothing yet.

        Args:
            make: Makes the thing with a number; called from other threads.
            ahead: How many are made, or kept ready, beside the one that was asked for; with 0 each is made when it is.
        """
        self._make, self._ahead = make, ahead
        self._pool = ThreadPoolExecutor(ahead, thread_name_prefix="read-ahead") if ahead else None
        self._pending: dict[int, Future[Any]] = {}

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the threads; what was made for nobody is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()

    def get(self, wanted: Sequence[int]) -> Any:
        """Returns the first of what is wanted, and begins with the next ones.

        Raises:
            Exception: Whatever making that first one raised; an error with a later one waits until its turn.
        """
        if self._pool is None:
            return self._make(wanted[0])
        wanted = wanted[: self._ahead + 1]
        for index in set(self._pending) - set(wanted):  # somebody went elsewhere
            self._pending.pop(index).cancel()
        for index in wanted:
            if index not in self._pending:
                self._pending[index] = self._pool.submit(self._make, index)
        return self._pending.pop(wanted[0]).result()
