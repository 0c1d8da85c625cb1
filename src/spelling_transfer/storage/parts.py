"""A table in parts in the catalog: written part by part, read a row group at a time."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pandas as pd
from kedro.io import AbstractVersionedDataset
from kedro.io.core import Version, get_protocol_and_path
from kedro_datasets._typing import TablePreview

from spelling_transfer.models.folder import MANIFEST, ModelFolder, new_folder, write_manifest
from spelling_transfer.storage.remote_errors import check_transport
from spelling_transfer.storage.remote_folder import content_folder, publish_folder
from spelling_transfer.storage.streaming import ParquetStream
from spelling_transfer.storage.whole import DatasetFileError, DatasetWriteError, cannot_read, cannot_write


class PartitionedParquetDataset(AbstractVersionedDataset["pd.DataFrame | Iterable[pd.DataFrame]", ParquetStream]):
    """A table as a folder of Parquet files, for data that do not fit into memory.

    A node gives a frame, or frames one after another; each becomes a file. Loading gives a ``ParquetStream``, which
    reads lazily. The folder is the old one or the new one, never a mixture, on a disk and on an object store.
    """

    def __init__(
        self,
        *,
        filepath: str,
        rows_per_group: int = 65_536,
        load_args: dict[str, Any] | None = None,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Points at a folder.

        Args:
            filepath: The folder, local or a URL.
            rows_per_group: Rows that are read at once, and so held at once.
            load_args: Arguments of the stream: ``columns``, ``batch_rows``, ``shuffle_seed``, ``shard``, ``n_shards``.
            version: Set by Kedro where the catalog says ``versioned: true``.
            credentials: For a URL, as fsspec takes them.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        self._protocol, path = get_protocol_and_path(filepath, version)
        self._fs = fsspec.filesystem(self._protocol, **(credentials or {}))
        self._rows_per_group, self._load_args = rows_per_group, load_args or {}
        self.metadata = metadata
        super().__init__(
            filepath=PurePosixPath(path), version=version, exists_function=self._fs.exists, glob_function=self._fs.glob
        )

    def load(self) -> ParquetStream:
        """Returns a stream over the rows; reads the files' footers alone.

        Raises:
            DatasetFileError: The folder is missing or a file is damaged.
        """
        return ParquetStream(self._parts(), self._fs, **self._load_args)

    def save(self, data: pd.DataFrame | Iterable[pd.DataFrame]) -> None:
        """Writes the parts, and then makes them the dataset.

        Raises:
            DatasetWriteError: They cannot be written; what was there before is untouched.
        """
        target = self._get_save_path().as_posix()
        try:
            check_transport(self._fs)
            if self._protocol == "file":
                with new_folder(Path(target), {"kind": "parquet parts"}) as folder:
                    self._write_parts(data, folder)
            else:
                with tempfile.TemporaryDirectory() as name:
                    folder = Path(name)
                    self._write_parts(data, folder)
                    write_manifest(folder, {"kind": "parquet parts"})
                    publish_folder(ModelFolder(folder), self._fs, target)
        except Exception as error:
            raise DatasetWriteError(cannot_write(self._place(target), error)) from error

    def preview(self, nrows: int = 5) -> TablePreview:
        """Returns the first rows for Kedro-Viz; reads one row group."""
        batch = next(iter(ParquetStream(self._parts(), self._fs, batch_rows=nrows)))
        rows = [list(row.values()) for row in batch.to_pylist()]
        return TablePreview({"index": list(range(len(rows))), "columns": batch.schema.names, "data": rows})

    def _write_parts(self, data: pd.DataFrame | Iterable[pd.DataFrame], folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        number, schema = -1, None
        for number, frame in enumerate(_frames(data)):
            table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
            schema = table.schema
            pq.write_table(
                table,
                folder / f"part-{number:05d}.parquet",
                compression="zstd",
                row_group_size=self._rows_per_group,
                write_page_checksum=True,
            )
        if number < 0:
            raise DatasetFileError("there is not one frame to write")

    def _parts(self) -> list[str]:
        source = self._get_load_path().as_posix()
        try:
            check_transport(self._fs)
            self._fs.invalidate_cache()
            root = source if self._protocol == "file" else content_folder(self._fs, source)
            return sorted(path for path in self._fs.ls(root, detail=False) if path.endswith(".parquet"))
        except Exception as error:
            raise DatasetFileError(cannot_read(self._place(source), error)) from error

    def _place(self, path: str) -> str:
        return path if self._protocol == "file" else f"{self._protocol}://{path}"

    def _exists(self) -> bool:
        self._fs.invalidate_cache()
        return bool(self._fs.exists(posixpath.join(self._get_load_path().as_posix(), MANIFEST)))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version, "rows_per_group": self._rows_per_group}


def _frames(data: pd.DataFrame | Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    if isinstance(data, pd.DataFrame):
        yield data
    else:
        yield from data
