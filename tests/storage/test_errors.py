"""What is wrong with a store is one clear error that shows no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DatasetError
from s3_fixtures import use_identity

from spelling_transfer.storage import JSONDataset, ModelFolderDataset

from .test_model_folders import make_folder


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


def test_why_a_file_cannot_be_written_is_not_why_the_run_failed_before(tmp_path: Path):
    (tmp_path / "pages").write_text("no folder")
    try:
        raise ValueError("the node's own error")
    except ValueError:
        with pytest.raises(DatasetError, match=r"cannot be written: (File exists|Not a directory)"):
            JSONDataset(filepath=str(tmp_path / "pages" / "a.json")).save({})
