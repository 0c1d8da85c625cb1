"""Tables that are larger than memory: Parquet files read a row group at a time, from wherever they are.

An epoch can be left in the middle and taken up again, by this process or another, without a row lost or given twice:
``state_dict`` and ``load_state_dict`` are those that ``torchdata``'s ``StatefulDataLoader`` calls.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np

from spelling_transfer.storage.whole import DatasetFileError, cannot_read

if TYPE_CHECKING:
    import pyarrow as pa


class ParquetStream:
    """Batches of rows of one table in several files; each pass over it is an epoch.

    Only one row group is held at a time. With a seed, row groups come in another order each epoch, and so do the rows
    within each; the order depends on nothing but seed and epoch.
    """

    def __init__(
        self,
        files: Sequence[str],
        filesystem: fsspec.AbstractFileSystem | None = None,
        *,
        columns: Sequence[str] | None = None,
        batch_rows: int = 1024,
        shuffle_seed: int | None = None,
        shard: int = 0,
        n_shards: int = 1,
    ) -> None:
        """Reads the footers; no row is read yet.

        Args:
            files: The files, in order.
            filesystem: Where they are; the local disk by default.
            columns: Columns to read; all by default.
            batch_rows: Rows of a batch, at most; the last of a row group may have fewer.
            shuffle_seed: Shuffles; ``None`` keeps the order of the files.
            shard: Which part of the row groups to read, of ``n_shards``: for several workers or machines.
            n_shards: How many parts there are.

        Raises:
            ValueError: A number is out of its bounds.
            DatasetFileError: A file is missing or damaged, or is not of the same table.
        """
        if batch_rows < 1 or not 0 <= shard < n_shards:
            raise ValueError(f"batch_rows: {batch_rows} is below 1, or shard {shard} is not one of {n_shards}.")
        self._fs = filesystem or fsspec.filesystem("file")
        self._files, self._columns = list(files), list(columns) if columns is not None else None
        self._batch_rows, self._seed = batch_rows, shuffle_seed
        self._shard, self._n_shards = shard, n_shards
        self._group_rows: list[tuple[int, int, int]] = []  # file, row group, rows
        self.schema = self._read_footers()
        self._epoch = self._position = self._row = 0

    @property
    def n_rows(self) -> int:
        """Rows of the table, all shards together."""
        return sum(rows for _, _, rows in self._group_rows)

    @property
    def n_row_groups(self) -> int:
        """Row groups of the table, all shards together."""
        return len(self._group_rows)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yields the batches of an epoch: the rest of it after ``load_state_dict``, else all."""
        order = self._order()
        while self._position < len(order):
            index = order[self._position]
            file, group, _ = self._group_rows[index]
            table = self._read_group(file, group)
            if self._seed is not None:
                table = table.take(np.random.default_rng([self._seed, self._epoch, index]).permutation(len(table)))
            while self._row < len(table):
                batch = table.slice(self._row, self._batch_rows).combine_chunks().to_batches()[0]
                # Counted before it is given: who saves the state while working on a batch has that batch.
                self._row += len(batch)
                yield batch
            self._position, self._row = self._position + 1, 0
        self._epoch, self._position = self._epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Returns where the stream is."""
        return {"epoch": self._epoch, "position": self._position, "row": self._row, "table": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to where a stream of the same table was.

        Raises:
            DatasetFileError: The state is that of another table, order or share.
        """
        if state.get("table") != self._identity():
            raise DatasetFileError(
                "the position in the data is that of another table, seed or number of shards: go on with the one it "
                "was saved with, or begin the epoch anew."
            )
        self._epoch, self._position, self._row = int(state["epoch"]), int(state["position"]), int(state["row"])

    def _order(self) -> list[int]:
        order: Any = np.arange(len(self._group_rows))
        if self._seed is not None:
            order = np.random.default_rng([self._seed, self._epoch]).permutation(order)
        return [int(index) for index in order[self._shard :: self._n_shards]]

    def _identity(self) -> str:
        names = [file.rsplit("/", 1)[-1] for file in self._files]
        facts = [names, self._group_rows, str(self.schema), self._seed, self._shard, self._n_shards]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _read_footers(self) -> pa.Schema:
        import pyarrow.parquet as pq

        schema = None
        for number, path in enumerate(self._files):
            try:
                with self._fs.open(path, "rb") as stream, pq.ParquetFile(stream) as parquet:
                    found, metadata = parquet.schema_arrow, parquet.metadata
            except Exception as error:
                raise DatasetFileError(cannot_read(self._place(path), error)) from error
            if schema is not None and not found.equals(schema):
                raise DatasetFileError(
                    f"{self._place(path)}: its columns are not those of {self._place(self._files[0])}."
                )
            schema = found
            self._group_rows += [
                (number, group, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)
            ]
        if schema is None:
            raise DatasetFileError("there are no Parquet files to read.")
        return schema

    def _read_group(self, file: int, group: int) -> pa.Table:
        import pyarrow.parquet as pq

        path = self._files[file]
        try:
            # Pages carry a checksum where this project has written them, so a flipped byte is not taken for data.
            with (
                self._fs.open(path, "rb") as stream,
                pq.ParquetFile(stream, page_checksum_verification=True, pre_buffer=True) as parquet,
            ):
                return parquet.read_row_group(group, columns=self._columns, use_threads=False)
        except Exception as error:
            raise DatasetFileError(cannot_read(self._place(path), error)) from error

    def _place(self, path: str) -> str:
        protocol = self._fs.protocol if isinstance(self._fs.protocol, str) else self._fs.protocol[0]
        return path if protocol in {"file", "local"} else f"{protocol}://{path}"
