"""A table that grows: nobody's rows are lost, on a disk and on an object store."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DatasetError

from spelling_transfer.storage import DatasetFileError, TablePartsDataset
from spelling_transfer.storage.runs import who

_ADD = """
import sys, pandas as pd
from spelling_transfer.storage import TablePartsDataset
table = TablePartsDataset(filepath=sys.argv[1]).load()
for number in range(10):
    table.add(pd.DataFrame({"key": [f"{sys.argv[2]}-{number}"], "ids": [[number, number]]}))
"""


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_two_that_add_at_once_lose_nothing(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = str(tmp_path / "deep" / "kept")
    if place == "s3":
        request.getfixturevalue("s3")
        path = "s3://data/kept"
    dataset = TablePartsDataset(filepath=path)
    assert not dataset.exists()
    assert dataset.load().read().empty
    writers = [subprocess.Popen([sys.executable, "-c", _ADD, path, name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    table = dataset.load().read()
    assert sorted(table["key"]) == sorted(f"{name}-{number}" for name in "ab" for number in range(10))
    assert sorted(ids.tolist() for ids in table["ids"]) == sorted(
        [number, number] for number in range(10) for _ in "ab"
    )
    assert table["saved_at"].is_monotonic_increasing
    assert set(table["by"]) == {who()}
    assert dataset.exists()
    content = dataset.describe_content(1)
    assert content["rows"] == 20
    assert json.loads(json.dumps(content["head"]))[0]["ids"] == [0, 0]


def test_a_file_that_is_damaged_or_none_of_ours_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = TablePartsDataset(filepath=str(tmp_path)).load()
    table.add(pd.DataFrame({"key": ["good"]}))
    whole = next(tmp_path.iterdir()).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    pd.DataFrame({"key": ["other"]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / ".half.parquet.partial").write_bytes(whole)
    (tmp_path / "folder.parquet").mkdir()
    with caplog.at_level(logging.WARNING):
        assert table.read()["key"].tolist() == ["good"]
    cut, folder, other = caplog.messages
    assert ("cut" in cut, "Is a directory" in folder, "no column" in other) == (True, True, True)


def test_it_is_no_output_and_says_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    dataset: Any = TablePartsDataset(filepath=str(tmp_path / "file" / "kept"))
    with pytest.raises(DatasetError, match="cannot be an output"):
        dataset.save(pd.DataFrame())
    with pytest.raises(DatasetFileError, match="cannot be written"):
        dataset.load().add(pd.DataFrame({"key": ["a"]}))
    with pytest.raises(DatasetFileError, match="cannot be read"):
        dataset.load().read()
