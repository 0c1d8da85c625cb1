"""A store whose server has no room left: one clear error, nothing half-written, and it resumes when there is room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from s3_fixtures import use_identity
from s3_server import SMALL, S3Server

from spelling_transfer.storage import ParquetDataset
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import StoreError, open_store
from spelling_transfer.storage.bundles.verify import verify_store


@pytest.fixture
def small_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3Server]:
    """A server with room for a few megabytes."""
    import s3fs

    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    with S3Server(options=SMALL) as server:
        use_identity(server, monkeypatch)
        yield server
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_full_server_is_said_leaves_nothing_partial_and_takes_the_rest_later(small_server: S3Server, tmp_path: Path):
    folder, random = tmp_path / "source", np.random.default_rng(0)
    folder.mkdir()
    (folder / "first.bin").write_bytes(random.bytes(100_000))
    store = open_store("s3://data/study")
    push_bundle(folder, store)
    table = ParquetDataset(filepath="s3://data/words.parquet")
    table.save(pd.DataFrame({"word": ["straw"]}))
    small_server.fill()
    for name, size in (("second.bin", 500_000), ("large.bin", 10_000_000)):
        (folder / name).write_bytes(random.bytes(size))
        with pytest.raises(StoreError, match="its disk is full"):
            push_bundle(folder, store)
    with pytest.raises(DatasetError, match="its disk is full"):
        table.save(pd.DataFrame({"number": random.normal(size=200_000)}))
    # What was there is all there, and nothing else can be seen.
    assert store.list_manifests() == [1]
    assert verify_store(store)[1] == []
    assert pull_bundle(store, tmp_path / "before").n_files == 1
    assert list(table.load()["word"]) == ["straw"]

    small_server.kill()
    small_server.options = []
    small_server.start()
    result = push_bundle(folder, store)
    assert (result.number, result.sent_files, result.sent_bytes) == (2, 2, 10_500_000)
    assert verify_store(store)[1] == []
    pull_bundle(store, tmp_path / "after")
    assert (tmp_path / "after" / "large.bin").read_bytes() == (folder / "large.bin").read_bytes()
