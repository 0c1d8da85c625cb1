"""Tables: pandas frames as Parquet or CSV, written whole or not at all."""

from __future__ import annotations

from typing import Any

from kedro.io.core import get_filepath_str
from kedro_datasets._typing import TablePreview
from kedro_datasets.pandas import csv_dataset, parquet_dataset

from spelling_transfer.storage.whole import DatasetFileError, WholeFile, cannot_read


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
