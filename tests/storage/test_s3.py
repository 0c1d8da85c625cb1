"""Datasets on a real S3 server: what is saved comes back, and what goes wrong is said in one clear error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DatasetError
from plotly.graph_objects import Figure

from spelling_transfer.models.folder import ModelFolder, write_manifest
from spelling_transfer.storage import (
    BundleFilesDataset,
    CSVDataset,
    JSONDataset,
    ModelFolderDataset,
    ParquetDataset,
    PlotlyDataset,
    TextDataset,
)
from spelling_transfer.storage.access import check_endpoint
from spelling_transfer.storage.errors import RemoteError

from .conftest import use_identity

FRAME = pd.DataFrame({"word": ["straw", "berry"], "length": [5, 5]})
SAVED: list[tuple[Any, str, Any]] = [
    (ParquetDataset, "words.parquet", FRAME),
    (CSVDataset, "words.csv", FRAME),
    (JSONDataset, "counts.json", {"words": 2}),
    (TextDataset, "index.html", "<p>straw – berry</p>"),
]


def make_folder(path: Path, weights: bytes) -> ModelFolder:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "tokens").mkdir()
    (path / "tokens" / "ids.json").write_text("[1]")
    (path / "model.safetensors").write_bytes(weights)
    write_manifest(path, {"note": "test"})
    return ModelFolder(path)


@pytest.mark.parametrize(("dataset_class", "name", "data"), SAVED)
def test_what_is_saved_comes_back(s3: str, dataset_class: Any, name: str, data: Any):
    filepath = f"{s3}/deep/{name}"
    dataset = dataset_class(filepath=filepath, **({"save_args": {"index": False}} if name.endswith("csv") else {}))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=f"there is no {filepath}"):
        dataset.load()
    dataset.save(data)
    assert dataset.exists()
    loaded = dataset_class(filepath=filepath).load()
    if isinstance(data, pd.DataFrame):
        pd.testing.assert_frame_equal(loaded, data, check_dtype=False)
    else:
        assert loaded == data


def test_previews_work_without_credentials_in_the_catalog(s3: str):
    table = ParquetDataset(filepath=f"{s3}/words.parquet")
    table.save(FRAME)
    assert table.preview(1) == {"index": [0], "columns": ["word", "length"], "data": [["straw", 5]]}
    figure = PlotlyDataset(filepath=f"{s3}/figure.json")
    figure.save(Figure({"data": [{"type": "bar", "y": [1, 2]}]}))
    assert figure.preview()["data"][0]["type"] == "bar"  # type: ignore[call-overload]
    page = TextDataset(filepath=f"{s3}/index.html")
    page.save("<p>")
    assert page.load() == "<p>"


def test_a_model_folder_comes_back_checked_from_a_local_copy(s3: str, tmp_path: Path):
    source = make_folder(tmp_path / "work", b"weights")
    dataset = ModelFolderDataset(filepath=f"{s3}/models/adapter")
    assert not dataset.exists()
    dataset.save(source)
    assert dataset.exists()
    loaded = dataset.load()
    assert loaded.sha256 == source.sha256
    assert loaded.path.is_relative_to(tmp_path / "cache")
    assert (loaded.path / "tokens" / "ids.json").read_text() == "[1]"
    assert json.loads(dataset.preview())["model.safetensors"] == 7
    assert dataset.load() == loaded


def test_a_damaged_copy_is_fetched_again(s3: str, tmp_path: Path):
    dataset = ModelFolderDataset(filepath=f"{s3}/adapter")
    dataset.save(make_folder(tmp_path / "work", b"weights"))
    (dataset.load().path / "model.safetensors").write_bytes(b"wei")
    assert (dataset.load().path / "model.safetensors").read_bytes() == b"weights"


def test_a_new_folder_replaces_the_old_one_and_only_the_last_two_are_kept(s3: str, tmp_path: Path, s3_server):
    dataset = ModelFolderDataset(filepath=f"{s3}/adapter")
    for weights in (b"1", b"2", b"3"):
        dataset.save(make_folder(tmp_path / weights.decode(), weights))
        assert (dataset.load().path / "model.safetensors").read_bytes() == weights
    prefix = s3.removeprefix("s3://data/") + "/adapter/"
    found = s3_server.client().list_objects_v2(Bucket="data", Prefix=prefix)["Contents"]
    assert sum(entry["Key"].endswith("model.safetensors") for entry in found) == 2


def test_a_byte_flipped_on_the_store_is_found_at_load(s3: str, tmp_path: Path, s3_server):
    dataset = ModelFolderDataset(filepath=f"{s3}/adapter")
    dataset.save(make_folder(tmp_path / "work", b"weights"))
    client, prefix = s3_server.client(), s3.removeprefix("s3://data/")
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="data", Prefix=prefix)["Contents"]]
    client.put_object(Bucket="data", Key=next(key for key in keys if key.endswith(".safetensors")), Body=b"weightz")
    with pytest.raises(DatasetError, match=r"model\.safetensors: sha256 is"):
        dataset.load()


def test_a_folder_that_was_copied_there_as_it_is_can_be_read(s3: str, tmp_path: Path):
    import fsspec

    source = make_folder(tmp_path / "work", b"weights")
    fsspec.filesystem("s3").put(str(source.path), f"{s3}/plain", recursive=True)
    assert ModelFolderDataset(filepath=f"{s3}/plain").load().sha256 == source.sha256


def test_facts_of_files_are_read_through_the_store(s3: str):
    ParquetDataset(filepath=f"{s3}/a/words.parquet").save(FRAME)
    facts = BundleFilesDataset(root=s3, files=["a/words.parquet"]).load()
    assert facts["a/words.parquet"]["rows"] == 2


def test_a_save_that_fails_leaves_what_was_there(s3: str):
    dataset = ParquetDataset(filepath=f"{s3}/words.parquet")
    dataset.save(FRAME)
    with pytest.raises(DatasetError):
        dataset.save(pd.DataFrame({"mixed": [1, {"a": 1}, "x"]}))
    assert len(dataset.load()) == 2


@pytest.mark.parametrize("action", ["save", "load"])
@pytest.mark.parametrize(("wrong", "message"), [("secret", "refused"), ("endpoint", "cannot be reached")])
def test_a_wrong_secret_and_an_unreachable_endpoint_are_one_clear_error(
    s3: str, s3_server, monkeypatch: pytest.MonkeyPatch, wrong: str, message: str, action: str
):
    from s3_server import WRITER, WRONG

    identity, endpoint = (WRONG, None) if wrong == "secret" else (WRITER, "http://127.0.0.1:9")
    use_identity(s3_server, monkeypatch, identity, endpoint=endpoint)
    dataset = JSONDataset(filepath=f"{s3}/a.json")
    with pytest.raises(DatasetError, match=message) as caught:
        dataset.save({}) if action == "save" else dataset.load()
    assert identity.secret not in str(caught.value)


def test_a_reader_may_read_and_not_write(s3: str, s3_server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from s3_server import READER

    JSONDataset(filepath=f"{s3}/a.json").save({"words": 2})
    use_identity(s3_server, monkeypatch, READER)
    assert JSONDataset(filepath=f"{s3}/a.json").load() == {"words": 2}
    with pytest.raises(DatasetError, match="this identity may not write there"):
        JSONDataset(filepath=f"{s3}/a.json").save({})
    with pytest.raises(DatasetError, match="this identity may not write there"):
        ModelFolderDataset(filepath=f"{s3}/model").save(make_folder(tmp_path / "model", b"weights"))


def test_a_bucket_that_is_not_there_is_one_clear_error(s3: str, tmp_path: Path):
    for dataset, data in (
        (JSONDataset(filepath="s3://no-such-bucket/a.json"), {}),
        (ModelFolderDataset(filepath="s3://no-such-bucket/a"), make_folder(tmp_path / "model", b"weights")),
    ):
        with pytest.raises(DatasetError, match=r"the bucket does not exist|may not write there"):
            dataset.save(data)


def test_a_store_elsewhere_needs_encryption():
    for allowed in ("https://s3.example.org", "http://127.0.0.1:8333", "http://localhost:8333", "http://[::1]:8333"):
        check_endpoint(allowed)
    for refused in ("http://s3.example.org", "http://127.0.0.1.example.org", "ftp://a", "s3.example.org"):
        with pytest.raises(RemoteError, match="is not encrypted"):
            check_endpoint(refused)


def test_a_dataset_does_not_send_to_a_plain_endpoint_elsewhere(s3: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://192.0.2.1:8333")
    with pytest.raises(DatasetError, match="is not encrypted"):
        JSONDataset(filepath=f"{s3}/a.json").save({})
    assert os.environ["AWS_ENDPOINT_URL_S3"].startswith("http://192")
