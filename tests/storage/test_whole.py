"""What a dataset saves is there whole or not at all, on a local disk and on a remote filesystem."""

import subprocess
import sys
import textwrap
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from kedro.io import DatasetError
from kedro.io.core import Version, generate_timestamp
from pandas.testing import assert_frame_equal

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import whole_file
from spelling_transfer.storage import CSVDataset, DatasetFileError, JSONDataset, ParquetDataset, TextDataset

FRAME = pd.DataFrame({"word": ["straw", "berry"], "length": [5, 5]})
CASES = [
    pytest.param(ParquetDataset, FRAME, id="parquet"),
    pytest.param(CSVDataset, FRAME, id="csv"),
    pytest.param(JSONDataset, {"wörd": [1, 2.5, None]}, id="json"),
    pytest.param(TextDataset, "<p>naïve</p>\n", id="text"),
]


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
def test_saved_data_comes_back_from_a_remote_filesystem(dataset_class, data):
    dataset = dataset_class(filepath=f"memory://bucket/{dataset_class.__name__}/thing.dat")
    assert not dataset.exists()
    dataset.save(data)
    assert dataset.exists()
    assert_same(dataset.load(), data)


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


def test_an_interrupt_leaves_the_old_file(tmp_path):
    target = tmp_path / "page.html"
    target.write_text("old")

    def write_and_stop() -> None:
        with whole_file(target) as partial:
            partial.write_text("half of the ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and_stop()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


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


def test_a_folder_in_the_place_of_the_file_is_not_called_damaged(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(DatasetFileError, match="Is a directory") as caught:
        JSONDataset(filepath=str(tmp_path / "manifest.json")).load()
    assert "delete" not in str(caught.value)
