"""Tables in parts: written part by part, read lazily, left and taken up in the middle of an epoch."""

from __future__ import annotations

import json
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError

from spelling_transfer.storage import PartitionedParquetDataset

N_ROWS = 1000


def frames(n_parts: int = 4) -> Any:
    each = N_ROWS // n_parts
    for part in range(n_parts):
        ids = range(part * each, (part + 1) * each)
        yield pd.DataFrame({"id": ids, "word": [f"w{number}" for number in ids]})


def ids(batches: Any) -> list[int]:
    return [number for batch in batches for number in batch.column("id").to_pylist()]


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.getfixturevalue('s3')}/table" if request.param == "s3" else str(tmp_path / "table")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("parts") / "table")
    PartitionedParquetDataset(filepath=path, rows_per_group=37).save(frames())
    return path


def test_what_is_saved_part_by_part_is_read_in_order(place: str):
    dataset = PartitionedParquetDataset(filepath=place, rows_per_group=64, load_args={"batch_rows": 10})
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="there is no"):
        dataset.load()
    dataset.save(frames())
    assert dataset.exists()
    stream = dataset.load()
    assert (stream.n_rows, stream.n_row_groups) == (N_ROWS, 16)
    assert ids(stream) == list(range(N_ROWS))
    assert dataset.preview(2) == {"index": [0, 1], "columns": ["id", "word"], "data": [[0, "w0"], [1, "w1"]]}
    dataset.save(pd.DataFrame({"id": [7]}))
    assert ids(dataset.load()) == [7]


def test_a_save_that_fails_leaves_what_was_there(place: str):
    dataset = PartitionedParquetDataset(filepath=place)
    dataset.save(frames())

    def breaks() -> Any:
        yield pd.DataFrame({"id": [1]})
        raise RuntimeError("a bug in a node")

    for bad in (breaks(), iter(()), iter([pd.DataFrame({"id": [1]}), pd.DataFrame({"other": ["x"]})])):
        with pytest.raises(DatasetError):
            dataset.save(bad)
    assert len(ids(dataset.load())) == N_ROWS


@settings(max_examples=25, deadline=None)
@given(stop=st.integers(0, 120), batch_rows=st.integers(1, 90), seed=st.one_of(st.none(), st.integers(0, 9)))
def test_an_epoch_goes_on_where_it_was_left(local: str, stop: int, batch_rows: int, seed: int | None):
    dataset = PartitionedParquetDataset(filepath=local, load_args={"batch_rows": batch_rows, "shuffle_seed": seed})
    first = dataset.load()
    seen = ids(islice(iter(first), stop))
    if first.state_dict()["epoch"] == 1:  # it was read to its end
        assert sorted(seen) == list(range(N_ROWS))
        return
    second = dataset.load()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    seen += ids(second)
    whole = dataset.load()
    assert seen == ids(whole)
    assert sorted(seen) == list(range(N_ROWS))
    assert ids(second) == ids(whole)  # and the next epoch is the same for both


def test_epochs_are_shuffled_differently_and_shards_share_the_rows(local: str):
    stream = PartitionedParquetDataset(filepath=local, load_args={"shuffle_seed": 1}).load()
    first, second = ids(stream), ids(stream)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(N_ROWS))
    shards = [
        ids(PartitionedParquetDataset(filepath=local, load_args={"shuffle_seed": 1, "shard": n, "n_shards": 3}).load())
        for n in range(3)
    ]
    assert sorted(chain.from_iterable(shards)) == list(range(N_ROWS))


def test_a_position_in_another_table_is_refused(local: str):
    state = PartitionedParquetDataset(filepath=local, load_args={"shuffle_seed": 1}).load().state_dict()
    with pytest.raises(DatasetError, match="another table, seed or number of shards"):
        PartitionedParquetDataset(filepath=local, load_args={"shuffle_seed": 2}).load().load_state_dict(state)


def test_a_flipped_byte_is_not_taken_for_data(tmp_path: Path):
    dataset = PartitionedParquetDataset(filepath=str(tmp_path / "table"))
    dataset.save(frames(1))
    file = tmp_path / "table" / "part-00000.parquet"
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    with pytest.raises(DatasetError, match="cannot be read"):
        ids(dataset.load())


def test_columns_can_be_chosen_and_must_be_the_same_in_all_parts(tmp_path: Path, local: str):
    stream = PartitionedParquetDataset(filepath=local, load_args={"columns": ["word"]}).load()
    assert next(iter(stream)).schema.names == ["word"]
    dataset = PartitionedParquetDataset(filepath=str(tmp_path / "table"))
    dataset.save(frames())
    pd.DataFrame({"id": [1]}).to_parquet(tmp_path / "table" / "part-00001.parquet")
    with pytest.raises(DatasetError, match="its columns are not those of"):
        dataset.load()


@pytest.mark.parametrize("arguments", [{"batch_rows": 0}, {"shard": 2, "n_shards": 2}])
def test_numbers_out_of_bounds_are_refused(local: str, arguments: dict[str, int]):
    with pytest.raises(DatasetError, match="batch_rows"):
        PartitionedParquetDataset(filepath=local, load_args=arguments).load()
