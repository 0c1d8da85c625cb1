"""Tables in parts: written part by part, read lazily, left and taken up in the middle of an epoch."""

from __future__ import annotations

import json
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.io import DatasetError

from spelling_transfer.storage import PartitionedParquetDataset

from .conftest import use_identity

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
@given(
    stop=st.integers(0, 120), batch_rows=st.integers(1, 90), seed=st.one_of(st.none(), st.integers(0, 9)),
    ahead=st.sampled_from([0, 1, 5]),
)  # fmt: skip
def test_an_epoch_goes_on_where_it_was_left(local: str, stop: int, batch_rows: int, seed: int | None, ahead: int):
    arguments = {"batch_rows": batch_rows, "shuffle_seed": seed, "read_ahead": ahead}
    dataset = PartitionedParquetDataset(filepath=local, load_args=arguments)
    first = dataset.load()
    seen = ids(islice(iter(first), stop))
    if first.state_dict()["epoch"] == 1:  # it was read to its end
        assert sorted(seen) == list(range(N_ROWS))
        return
    second = dataset.load()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    seen += ids(second)
    whole = PartitionedParquetDataset(filepath=local, load_args=arguments | {"read_ahead": 0}).load()
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


def test_no_more_is_read_ahead_than_was_asked_for(local: str):
    stream = PartitionedParquetDataset(filepath=local, load_args={"read_ahead": 3, "batch_rows": 10}).load()
    read, original = [], stream._groups.read
    stream._groups.read = lambda index: read.append(index) or original(index)  # type: ignore[method-assign]
    for batch in stream:
        number = batch.column("id")[0].as_py()
        assert len(read) <= number // 37 + 2 + 4  # a part's last group has fewer than 37 rows
    assert sorted(read) == list(range(stream.n_row_groups))


def test_what_is_ahead_of_a_damaged_page_is_still_given(tmp_path: Path):
    dataset = PartitionedParquetDataset(filepath=str(tmp_path / "table"), load_args={"read_ahead": 8})
    dataset.save(frames())
    file = tmp_path / "table" / "part-00002.parquet"
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    seen: list[int] = []
    with pytest.raises(DatasetError, match=r"part-00002\.parquet cannot be read"):
        seen.extend(number for batch in dataset.load() for number in batch.column("id").to_pylist())
    assert seen == list(range(N_ROWS // 2))


def test_a_stream_can_go_back_while_it_is_read(local: str):
    stream = PartitionedParquetDataset(filepath=local, load_args={"shuffle_seed": 3, "batch_rows": 37}).load()
    batches, start = iter(stream), stream.state_dict()
    first = ids(islice(batches, 4))
    stream.load_state_dict(start)
    assert ids(stream)[: len(first)] == first


def test_a_table_that_is_replaced_while_it_is_read_is_not_mixed(place: str):
    dataset = PartitionedParquetDataset(filepath=place, rows_per_group=50, load_args={"read_ahead": 1})
    dataset.save(frames())
    batches = iter(dataset.load())
    seen = ids(islice(batches, 2))
    dataset.save(pd.DataFrame({"id": [-1] * N_ROWS, "word": "other"}))
    if place.startswith("s3://"):  # the content before the last stays there
        seen += ids(batches)
        assert seen == list(range(N_ROWS))
    else:
        with pytest.raises(DatasetError, match="was replaced while the table was read"):
            ids(batches)


def test_a_pass_over_a_table_fetches_it_once(s3: str, s3_server: Any, monkeypatch: pytest.MonkeyPatch):
    from faulty_proxy import FaultyProxy

    values = np.random.default_rng(0).normal(size=200_000)
    dataset = PartitionedParquetDataset(filepath=f"{s3}/table", rows_per_group=20_000)
    dataset.save(pd.DataFrame({"value": part}) for part in np.split(values, 2))
    size = sum(dataset._fs.size(path) for path in dataset._parts())
    assert size > 1_000_000
    proxy = FaultyProxy(s3_server.port)
    try:
        use_identity(s3_server, monkeypatch, endpoint=proxy.endpoint)
        stream = PartitionedParquetDataset(filepath=f"{s3}/table", load_args={"shuffle_seed": 1}).load()
        assert sum(len(batch) for batch in stream) == len(values)
        assert proxy.received_bytes < 1.2 * size + 100_000
    finally:
        proxy.close()


@pytest.mark.parametrize("arguments", [{"batch_rows": 0}, {"shard": 2, "n_shards": 2}, {"read_ahead": -1}])
def test_numbers_out_of_bounds_are_refused(local: str, arguments: dict[str, int]):
    with pytest.raises(DatasetError, match="batch_rows"):
        PartitionedParquetDataset(filepath=local, load_args=arguments).load()
