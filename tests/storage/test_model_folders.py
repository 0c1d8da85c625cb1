"""Model folders in the catalog, on a disk and on S3."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import fsspec
import pytest
from kedro.io import DatasetError
from kedro.io.core import Version

from spelling_transfer.models.folder import ModelFolder, ModelFolderError, write_manifest
from spelling_transfer.storage import DatasetFileError, ModelFolderDataset, model_folders


def make_folder(path: Path, weights: bytes) -> ModelFolder:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "tokens").mkdir()
    (path / "tokens" / "ids.json").write_text("[1]")
    (path / "model.safetensors").write_bytes(weights)
    write_manifest(path, {"note": "test"})
    return ModelFolder(path)


def test_a_saved_folder_comes_back_checked_and_the_source_stays(tmp_path):
    source = make_folder(tmp_path / "work", b"weights")
    dataset = ModelFolderDataset(filepath=str(tmp_path / "models" / "adapter"))
    assert not dataset.exists()
    dataset.save(source)
    loaded = dataset.load()
    assert loaded.path == tmp_path / "models" / "adapter"
    assert loaded.sha256 == source.sha256
    assert (source.path / "model.safetensors").read_bytes() == b"weights"
    assert [folder.name for folder in (tmp_path / "models").iterdir()] == ["adapter"]


def test_a_new_folder_replaces_the_old_one_with_all_its_files(tmp_path):
    dataset = ModelFolderDataset(filepath=str(tmp_path / "adapter"))
    old = make_folder(tmp_path / "old", b"old")
    (old.path / "extra.txt").write_text("only in the old one")
    dataset.save(old)
    dataset.save(make_folder(tmp_path / "new", b"new"))
    assert sorted(file.name for file in (tmp_path / "adapter").iterdir()) == [
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokens",
    ]
    assert (tmp_path / "adapter" / "model.safetensors").read_bytes() == b"new"


def test_a_folder_that_was_altered_is_refused_at_load(tmp_path):
    dataset = ModelFolderDataset(filepath=str(tmp_path / "adapter"))
    dataset.save(make_folder(tmp_path / "new", b"weights"))
    (tmp_path / "adapter" / "model.safetensors").write_bytes(b"wei")
    with pytest.raises(DatasetError, match=r"model\.safetensors: sha256 is") as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, ModelFolderError)


def test_a_broken_source_never_becomes_the_dataset(tmp_path):
    dataset = ModelFolderDataset(filepath=str(tmp_path / "models" / "adapter"))
    dataset.save(make_folder(tmp_path / "good", b"good"))
    broken = make_folder(tmp_path / "broken", b"weights")
    (broken.path / "model.safetensors").unlink()
    with pytest.raises(DatasetError, match="missing"):
        dataset.save(broken)
    assert (dataset.load().path / "model.safetensors").read_bytes() == b"good"
    assert [folder.name for folder in (tmp_path / "models").iterdir()] == ["adapter"]


def test_a_full_disk_is_named_with_the_room_that_is_left(tmp_path):
    script = textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        from spelling_transfer.models.folder import ModelFolder
        from spelling_transfer.storage import ModelFolderDataset
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            ModelFolderDataset(filepath=sys.argv[2]).save(ModelFolder(Path(sys.argv[1])))
        except Exception as error:
            print(error)
    """)
    good, target = make_folder(tmp_path / "good", bytes(200_000)), tmp_path / "models" / "adapter"
    command = [sys.executable, "-c", script, str(good.path), str(target)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert said.startswith(f"{target} cannot be written: File too large. ")
    assert "MB are free there: make room and run again. Nothing was left half-written." in said
    assert not list(target.parent.iterdir())


def test_a_folder_that_is_gone_is_one_clear_error(tmp_path):
    with pytest.raises(DatasetFileError, match="cannot be written: No such file"):
        ModelFolderDataset(filepath=str(tmp_path / "adapter")).save(ModelFolder(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match="no such model folder"):
        ModelFolderDataset(filepath=str(tmp_path / "adapter")).load()


def test_saving_a_folder_onto_itself_changes_nothing(tmp_path):
    folder = make_folder(tmp_path / "adapter", b"weights")
    dataset = ModelFolderDataset(filepath=str(folder.path))
    dataset.save(folder)
    assert dataset.load() == folder


def test_versions_are_kept_apart(tmp_path):
    path = str(tmp_path / "adapter")
    for version, weights in {"v1": b"1", "v2": b"2"}.items():
        ModelFolderDataset(filepath=path, version=Version(None, version)).save(make_folder(tmp_path / version, weights))
    old = ModelFolderDataset(filepath=path, version=Version("v1", None)).load()
    assert (old.path / "model.safetensors").read_bytes() == b"1"


def test_the_preview_lists_files_and_sizes(tmp_path):
    folder = make_folder(tmp_path / "adapter", b"weights")
    preview = json.loads(ModelFolderDataset(filepath=str(folder.path)).preview())
    assert preview["model.safetensors"] == 7


def test_a_handle_may_be_given_unchecked_to_nodes_that_may_not_need_the_model(tmp_path):
    dataset = ModelFolderDataset(filepath=str(tmp_path / "none"), check=False)
    assert dataset.load() == ModelFolder(tmp_path / "none")
    with pytest.raises(DatasetError):
        ModelFolderDataset(filepath=str(tmp_path / "none")).load()


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


def test_a_copy_that_cannot_be_written_is_not_blamed_on_the_store(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dataset = ModelFolderDataset(filepath=f"{s3}/adapter")
    dataset.save(make_folder(tmp_path / "source", b"one"))
    (tmp_path / "taken").write_text("no folder")
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "taken"))
    with pytest.raises(DatasetError, match=f"^{tmp_path}/taken.* cannot be read or written: Not a directory"):
        dataset.load()


def test_a_damaged_copy_is_fetched_again(s3: str, tmp_path: Path):
    dataset = ModelFolderDataset(filepath=f"{s3}/adapter")
    dataset.save(make_folder(tmp_path / "work", b"weights"))
    (dataset.load().path / "model.safetensors").write_bytes(b"wei")
    assert (dataset.load().path / "model.safetensors").read_bytes() == b"weights"


def weights_on(s3: str, s3_server) -> int:
    prefix = s3.removeprefix("s3://data/") + "/adapter/"
    found = s3_server.client().list_objects_v2(Bucket="data", Prefix=prefix)["Contents"]
    return sum(entry["Key"].endswith("model.safetensors") for entry in found)


def test_a_new_folder_replaces_the_old_one_and_after_a_day_only_the_last_two_are_kept(
    s3: str, tmp_path: Path, s3_server, monkeypatch: pytest.MonkeyPatch
):
    dataset = ModelFolderDataset(filepath=f"{s3}/adapter")
    for weights, left in ((b"1", 1), (b"2", 2), (b"3", 3), (b"4", 2)):
        if weights == b"4":
            monkeypatch.setattr(model_folders, "_UPLOAD_SECONDS", -60.0)  # as if a day had gone by
        dataset.save(make_folder(tmp_path / weights.decode(), weights))
        assert (dataset.load().path / "model.safetensors").read_bytes() == weights
        assert weights_on(s3, s3_server) == left


def test_what_another_run_is_uploading_is_left_alone(s3: str, tmp_path: Path):
    filesystem, half = fsspec.filesystem("s3"), f"{s3}/adapter/{'a' * 64}/model.safetensors"
    filesystem.pipe_file(half, b"half")
    ModelFolderDataset(filepath=f"{s3}/adapter").save(make_folder(tmp_path / "work", b"weights"))
    assert filesystem.cat_file(half) == b"half"


def test_a_byte_flipped_on_the_store_is_found_at_load(s3: str, tmp_path: Path, s3_server):
    dataset = ModelFolderDataset(filepath=f"{s3}/adapter")
    dataset.save(make_folder(tmp_path / "work", b"weights"))
    client, prefix = s3_server.client(), s3.removeprefix("s3://data/")
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="data", Prefix=prefix)["Contents"]]
    client.put_object(Bucket="data", Key=next(key for key in keys if key.endswith(".safetensors")), Body=b"weightz")
    with pytest.raises(DatasetError, match=r"model\.safetensors: sha256 is"):
        dataset.load()


def test_a_folder_that_was_copied_there_as_it_is_can_be_read(s3: str, tmp_path: Path):

    source = make_folder(tmp_path / "work", b"weights")
    fsspec.filesystem("s3").put(str(source.path), f"{s3}/plain", recursive=True)
    assert ModelFolderDataset(filepath=f"{s3}/plain").load().sha256 == source.sha256


def test_a_pointer_cannot_put_a_folder_in_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    filesystem, content = fsspec.filesystem("memory"), "a" * 64
    filesystem.pipe_file("/poison/manifest.json", json.dumps({"format": 1, "content": content}).encode())
    filesystem.pipe_file(f"/poison/{content}/manifest.json", b'{"files": {}}')
    with pytest.raises(DatasetError, match="is not the manifest that the pointer names"):
        ModelFolderDataset(filepath="memory:///poison").load()
    assert not list((tmp_path / "cache" / "folders").iterdir())
