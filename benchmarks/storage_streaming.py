"""One step of the streaming part of ``benchmarks/storage.py``, in a process of its own for its memory."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd

from spelling_transfer.storage import PartitionedParquetDataset
from spelling_transfer.storage.streaming import ParquetStream
from storage import peak_mb

N_PARTS = 20


def main() -> None:
    """Prints what a step found, as JSON."""
    filepath, rows, step = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    dataset = PartitionedParquetDataset(filepath=filepath, load_args={"shuffle_seed": 1})
    begun = time.perf_counter()
    result = {"write": write, "stream": stream, "load": load, "resume": resume}[step](dataset, rows)
    print(json.dumps({"seconds": round(time.perf_counter() - begun, 2), "peak_mb": round(peak_mb(), 1), **result}))


def write(dataset: PartitionedParquetDataset, rows: int) -> dict[str, float]:
    """Writes a table of word-like numbers, part by part."""
    generator = np.random.default_rng(0)
    each = rows // N_PARTS

    def part(number: int) -> pd.DataFrame:
        ids = np.arange(number * each, (number + 1) * each)
        return pd.DataFrame({"id": ids, **{f"x{column}": generator.normal(size=each) for column in range(4)}})

    dataset.save(part(number) for number in range(N_PARTS))
    size = sum(dataset._fs.size(path) for path in dataset._parts())
    return {"megabytes": size / 1e6}


def stream(dataset: PartitionedParquetDataset, rows: int) -> dict[str, float]:
    """Reads every row once."""
    found = sum(len(batch) for batch in dataset.load())
    assert found == rows // N_PARTS * N_PARTS
    return {}


def load(dataset: PartitionedParquetDataset, rows: int) -> dict[str, float]:
    """Loads the same into one frame."""
    parts = [pd.read_parquet(f"s3://{path}") for path in dataset._parts()]
    frame = pd.concat(parts, ignore_index=True)
    assert len(frame) == rows // N_PARTS * N_PARTS
    return {}


def resume(dataset: PartitionedParquetDataset, rows: int) -> dict[str, float]:
    """Stops in the middle and goes on with another stream; counts rows that are lost or given twice."""
    rows = rows // N_PARTS * N_PARTS
    first, seen, n_seen = dataset.load(), np.zeros(rows, dtype=np.int8), 0
    for batch in first:
        seen[batch.column("id").to_numpy()] += 1
        n_seen += len(batch)
        if n_seen > rows * 0.4:
            break
    second = dataset.load()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    reads = count_reads(second)
    for batch in second:
        seen[batch.column("id").to_numpy()] += 1
    left = second.n_row_groups - first.state_dict()["position"]
    return {"wrong": int((seen != 1).sum()), "again": len(reads) - left + 1}


def count_reads(stream_: ParquetStream) -> list[int]:
    """Notes the row groups that a stream reads from here on."""
    read_groups: list[int] = []
    original = stream_._groups.read

    def read(index: int) -> object:
        read_groups.append(index)
        return original(index)

    stream_._groups.read = read  # type: ignore[method-assign]
    return read_groups


if __name__ == "__main__":
    main()
