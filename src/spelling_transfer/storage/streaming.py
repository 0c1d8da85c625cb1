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

from spelling_transfer.storage.row_groups import ReadAhead, RowGroups
from spelling_transfer.storage.whole import DatasetFileError

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_AHEAD = 64


class ParquetStream:
    """Batches of rows of one table in several files; each pass over it is an epoch.

    Row groups are fetched a few ahead, and no more than these and the one in use are held. With a seed, row groups come
    in another order each epoch, and so do the rows within each; the order depends on nothing but seed and epoch.
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
        read_ahead: int = 2,
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
            read_ahead: Row groups that are fetched while one is in use. Each is held in memory, decoded.

        Raises:
            ValueError: A number is out of its bounds.
            DatasetFileError: A file is missing or damaged, or is not of the same table.
        """
        if batch_rows < 1 or not 0 <= shard < n_shards or not 0 <= read_ahead <= _MOST_AHEAD:
            raise ValueError(
                f"batch_rows: {batch_rows} is below 1, or shard {shard} is not one of {n_shards}, or read_ahead "
                f"{read_ahead} is not from 0 to {_MOST_AHEAD}."
            )
        self._names = [file.rsplit("/", 1)[-1] for file in files]
        self._batch_rows, self._seed = batch_rows, shuffle_seed
        self._shard, self._n_shards, self._read_ahead = shard, n_shards, read_ahead
        self._groups = RowGroups(
            files, filesystem or fsspec.filesystem("file"), list(columns) if columns is not None else None
        )
        self.schema = self._groups.schema
        self._epoch = self._position = self._row = 0

    @property
    def n_rows(self) -> int:
        """Rows of the table, all shards together."""
        return sum(group.rows for group in self._groups.groups)

    @property
    def n_row_groups(self) -> int:
        """Row groups of the table, all shards together."""
        return len(self._groups.groups)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Yields the batches of an epoch: the rest of it after ``load_state_dict``, else all."""
        order, epoch = self._order(), self._epoch
        with ReadAhead(lambda index: self._read(index, epoch), self._read_ahead) as ahead:
            while self._position < len(order):
                rows = ahead.get(order[self._position : self._position + 1 + self._read_ahead])
                while self._row < len(rows):
                    batch = rows.slice(self._row, self._batch_rows)
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
        order: Any = np.arange(len(self._groups.groups))
        if self._seed is not None:
            order = np.random.default_rng([self._seed, self._epoch]).permutation(order)
        return [int(index) for index in order[self._shard :: self._n_shards]]

    def _identity(self) -> str:
        table = [self._names, self._groups.sizes, self._groups.groups, str(self.schema)]
        facts = [table, self._seed, self._shard, self._n_shards]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _read(self, index: int, epoch: int) -> pa.RecordBatch:
        """Returns the rows of a row group as one batch, in the order of the epoch."""
        import pyarrow as pa

        table = self._groups.read(index)
        if self._seed is not None:
            table = table.take(np.random.default_rng([self._seed, epoch, index]).permutation(len(table)))
        batches = table.combine_chunks().to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
