"""Tables in the catalog: compression, previews, and validation by a Pandera schema."""

import json

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pyarrow.parquet as pq
import pytest
from kedro.io import DataCatalog, DatasetError

from spelling_transfer.storage import CSVDataset, ParquetDataset

Lengths = pa.DataFrameSchema({"length": pa.Column(int, pa.Check.in_range(3, 12))})


@pytest.fixture
def words() -> pd.DataFrame:
    return pd.DataFrame(
        {"word": [f"w{i}" for i in range(8)], "ids_bare": [np.arange(3, dtype="int32")] * 8, "length": 3}
    )


def test_parquet_is_compressed_with_zstd_unless_told_otherwise(words, tmp_path):
    ParquetDataset(filepath=str(tmp_path / "a.parquet")).save(words)
    ParquetDataset(filepath=str(tmp_path / "b.parquet"), save_args={"compression": "snappy"}).save(words)
    for name, expected in {"a": "ZSTD", "b": "SNAPPY"}.items():
        assert pq.read_metadata(tmp_path / f"{name}.parquet").row_group(0).column(0).compression == expected


@pytest.mark.parametrize("root", ["file", "memory"])
def test_a_parquet_preview_holds_the_first_rows_as_json(root, words, tmp_path):
    folder = tmp_path if root == "file" else f"memory:///{tmp_path.name}"
    dataset = ParquetDataset(filepath=f"{folder}/words.parquet")
    dataset.save(words)
    preview = dataset.preview(nrows=2)
    assert json.loads(json.dumps(preview)) == {
        "index": [0, 1],
        "columns": ["word", "ids_bare", "length"],
        "data": [["w0", [0, 1, 2], 3], ["w1", [0, 1, 2], 3]],
    }


def test_the_preview_of_an_empty_table_shows_its_columns(words, tmp_path):
    dataset = ParquetDataset(filepath=str(tmp_path / "words.parquet"))
    dataset.save(words.head(0))
    assert dataset.preview() == {"index": [], "columns": ["word", "ids_bare", "length"], "data": []}


def test_a_csv_preview_holds_the_first_rows(words, tmp_path):
    dataset = CSVDataset(filepath=str(tmp_path / "words.csv"))
    dataset.save(words[["word", "length"]])
    assert dataset.preview(nrows=1)["data"] == [["w0", 3]]


def test_a_schema_named_in_the_catalog_refuses_a_bad_frame_before_anything_is_written(words, tmp_path):
    file = tmp_path / "words.parquet"
    catalog = DataCatalog.from_config(
        {
            "words": {
                "type": "spelling_transfer.storage.ParquetDataset",
                "filepath": str(file),
                "validator": f"{__name__}.Lengths",
            }
        }
    )
    with pytest.raises(DatasetError, match=r"(?s)'words' on save.*in_range\(3, 12\).*99"):
        catalog.save("words", words.assign(length=99))
    assert not file.exists()
    catalog.save("words", words)
    assert len(catalog.load("words")) == 8
