"""Tables, documents and figures: what is saved comes back, is there whole or not at all, and what is wrong is said."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pandera.pandas as pa
import plotly.graph_objects as go
import pyarrow.parquet as pq
import pytest
from kedro.io import DataCatalog, DatasetError
from kedro.io.core import Version, generate_timestamp
from pandas.testing import assert_frame_equal

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.storage import (
    CSVDataset,
    DatasetFileError,
    JSONDataset,
    ParquetDataset,
    PlotlyDataset,
    TextDataset,
)

FRAME = pd.DataFrame({"word": ["straw", "berry"], "length": [5, 5]})


CASES = [
    pytest.param(ParquetDataset, FRAME, id="parquet"),
    pytest.param(CSVDataset, FRAME, id="csv"),
    pytest.param(JSONDataset, {"wörd": [1, 2.5, None]}, id="json"),
    pytest.param(TextDataset, "<p>naïve</p>\n", id="text"),
]


Lengths = pa.DataFrameSchema({"length": pa.Column(int, pa.Check.in_range(3, 12))})


def assert_same(loaded, saved):
    if isinstance(saved, pd.DataFrame):
        assert_frame_equal(loaded, saved)
    else:
        assert loaded == saved


@pytest.mark.parametrize(("dataset_class", "data"), CASES)
def test_saved_data_comes_back_and_nothing_else_is_left(dataset_class, data, tmp_path):
    dataset = dataset_class(filepath=str(tmp_path / "new" / "thing.dat"))
    dataset.save(data)
    assert_same(dataset.load(), data)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["thing.dat"]


@pytest.mark.parametrize(("dataset_class", "data"), CASES)
def test_versions_are_kept_apart(dataset_class, data, tmp_path):
    path = str(tmp_path / "thing.dat")
    versions = []
    for _ in range(2):
        versions.append(generate_timestamp()[:-2] + f"{len(versions)}Z")
        dataset = dataset_class(filepath=path, version=Version(None, versions[-1]))
        dataset.save(data)
        assert_same(dataset.load(), data)
    assert dataset.list_versions(full_path=False) == versions[::-1]
    with pytest.raises(DatasetError, match="must not exist"):
        dataset.save(data)


def test_versions_beside_a_file_from_before_are_refused_with_what_to_do(tmp_path):
    path = str(tmp_path / "manifest.json")
    JSONDataset(filepath=path).save({"words": 1})
    with pytest.raises(DatasetError, match=r"versioning was enabled .* already saved .* remove 'manifest\.json'"):
        JSONDataset(filepath=path, version=Version(None, generate_timestamp())).save({"words": 2})
    assert JSONDataset(filepath=path).load() == {"words": 1}


@pytest.mark.parametrize("root", ["file", "memory"])
def test_a_failing_save_leaves_the_old_file(root, tmp_path):
    folder = f"memory:///{tmp_path.name}" if root == "memory" else str(tmp_path)
    dataset = JSONDataset(filepath=f"{folder}/manifest.json")
    dataset.save({"words": 1})
    with pytest.raises(DatasetFileError, match=r"manifest\.json cannot be written: .*not JSON serializable"):
        dataset.save({"words": list(range(10_000)), "broken": object()})
    assert dataset.load() == {"words": 1}
    fs, path = fsspec.url_to_fs(folder)
    assert [Path(file).name for file in fs.ls(path, detail=False)] == ["manifest.json"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EACCES, "Permission denied. Nothing"), (errno.ENOSPC, r"No space left on device\. .* make room")],
)
def test_a_missing_folder_that_cannot_be_made_says_why(tmp_path, monkeypatch, number, expected):
    make = os.mkdir

    def refused(path, *arguments):
        if Path(path).parent == tmp_path:
            raise OSError(number, os.strerror(number), str(path))
        make(path, *arguments)

    monkeypatch.setattr(os, "mkdir", refused)
    with pytest.raises(DatasetFileError, match=f"cannot be written: {expected}"):
        JSONDataset(filepath=str(tmp_path / "08_reporting" / "evaluation" / "verdict.json")).save({})


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path):
    """A limit on file size makes the real system call fail, as on a full disk."""
    script = textwrap.dedent("""
        import resource, signal, sys
        import numpy as np, pandas as pd
        from spelling_transfer.storage import ParquetDataset
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        frame = pd.DataFrame({"noise": np.random.default_rng(0).integers(0, 2**62, 100_000)})
        try:
            ParquetDataset(filepath=sys.argv[1]).save(frame)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    """)
    target = tmp_path / "words.parquet"
    ParquetDataset(filepath=str(target)).save(FRAME)
    output = subprocess.run(
        [sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert output.startswith(f"DatasetWriteError: {target} cannot be written: File too large.")
    assert "make room and run again. Nothing was left half-written." in output
    assert list(tmp_path.iterdir()) == [target]
    assert_frame_equal(ParquetDataset(filepath=str(target)).load(), FRAME)


@pytest.mark.parametrize(
    ("dataset_class", "data"),
    [case for case in CASES if case.id in {"parquet", "json"}],
)
def test_a_file_cut_short_is_named_with_the_remedy_and_a_new_save_repairs_it(dataset_class, data, tmp_path):
    target = tmp_path / "thing.dat"
    dataset = dataset_class(filepath=str(target))
    dataset.save(data)
    target.write_bytes(target.read_bytes()[:-5])
    with pytest.raises(DatasetFileError) as caught:
        dataset.load()
    assert str(target) in str(caught.value)
    assert "delete it and run the pipeline that makes it" in str(caught.value)
    dataset.save(data)
    assert_same(dataset.load(), data)


def test_a_flipped_byte_in_a_parquet_page_is_reported_as_damage(tmp_path):
    target = tmp_path / "words.parquet"
    dataset = ParquetDataset(filepath=str(target))
    dataset.save(pd.DataFrame({"word": [f"word{i}" for i in range(5_000)]}))
    data = bytearray(target.read_bytes())
    data[200:260] = b"\xff" * 60
    target.write_bytes(data)
    with pytest.raises(DatasetFileError, match="cut short or altered: delete it"):
        dataset.load()


@pytest.mark.parametrize(("dataset_class", "data"), CASES)
def test_a_missing_file_asks_for_its_pipeline_and_not_for_deletion(dataset_class, data, tmp_path):
    dataset = dataset_class(filepath=str(tmp_path / "thing.dat"))
    with pytest.raises(DatasetFileError, match=r"there is no .*thing\.dat\. Run the pipeline that makes it") as caught:
        dataset.load()
    assert isinstance(caught.value, SpellingTransferError)
    by_command = dataset_class(filepath=str(tmp_path / "thing.dat"), metadata={"made_by": "kedro bench engines"})
    with pytest.raises(DatasetFileError, match=r"thing\.dat\. Run 'kedro bench engines' first"):
        by_command.load()


def test_a_folder_in_the_place_of_the_file_is_not_called_damaged(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(DatasetFileError, match="Is a directory") as caught:
        JSONDataset(filepath=str(tmp_path / "manifest.json")).load()
    assert "delete" not in str(caught.value)


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


@pytest.mark.parametrize("root", ["file", "s3"])
def test_what_kedro_viz_shows_is_read_wherever_it_is(root, words, figure, tmp_path, request):
    folder = tmp_path if root == "file" else request.getfixturevalue("s3")
    page = "<!DOCTYPE html><title>A &amp; B</title><h2>Found <i>much</i></h2>"
    shown = []
    for dataset_class, data in (
        (ParquetDataset, words[["word", "length"]]),
        (CSVDataset, words[["word", "length"]]),
        (JSONDataset, {"n": 1}),
        (PlotlyDataset, figure),
        (TextDataset, page),
        (TextDataset, "one\ntwo\n"),
    ):
        dataset = dataset_class(filepath=f"{folder}/thing")
        dataset.save(data)
        shown.append(dataset.preview())
    table, csv, document, plot, html, text = shown
    assert table["data"][0] == csv["data"][0] == ["w0", 3]
    assert json.loads(document) == {"n": 1}
    assert plot["layout"]["title"]["text"] == "Exact match"
    assert plot["data"][0]["y"] == [0.5, 0.25]
    assert json.loads(html) == {"title": "A & B", "headings": ["Found much"], "file": f"{folder}/thing"}
    assert json.loads(text)["lines"] == ["one", "two"]


def test_a_preview_of_json_shows_no_more_entries_than_a_browser_can_draw(tmp_path):
    dataset = JSONDataset(filepath=str(tmp_path / "vocabulary.json"))
    dataset.save({f"t{i}": i for i in range(30_000)})
    assert json.loads(dataset.preview()) == {**{f"t{i}": i for i in range(200)}, "…": "29,800 more"}
    dataset.save({"ids": list(range(21)), "few": [1, {"a": None}], "loss": float("nan")})
    assert json.loads(dataset.preview()) == {"ids": [*range(20), "… 1 more"], "few": [1, {"a": None}], "loss": "nan"}


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


@pytest.fixture
def figure() -> go.Figure:
    return go.Figure(go.Bar(x=["spelling", "count"], y=[0.5, 0.25]), layout={"title": {"text": "Exact match"}})


def test_a_figure_comes_back_as_it_was(figure, tmp_path):
    dataset = PlotlyDataset(filepath=str(tmp_path / "scores.json"))
    dataset.save(figure)
    assert dataset.load() == figure


def test_a_figure_cut_short_is_named_with_the_remedy(figure, tmp_path):
    file = tmp_path / "scores.json"
    dataset = PlotlyDataset(filepath=str(file))
    dataset.save(figure)
    file.write_text(file.read_text()[:-9])
    with pytest.raises(DatasetFileError, match=r"scores\.json cannot be read: .* delete it and run the pipeline"):
        dataset.load()


def test_reading_the_catalog_does_not_import_plotly():
    script = (
        "import sys; from spelling_transfer.storage import PlotlyDataset; PlotlyDataset(filepath='x.json');"
        "assert not {'plotly', 'torch', 'transformers', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("dataset_class", "data"), CASES)
def test_what_is_saved_on_s3_comes_back(s3: str, dataset_class: Any, data: Any):
    filepath = f"{s3}/deep/thing.dat"
    dataset = dataset_class(filepath=filepath)
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=f"there is no {filepath}"):
        dataset.load()
    dataset.save(data)
    assert dataset.exists()
    assert_same(dataset_class(filepath=filepath).load(), data)
