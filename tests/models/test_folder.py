from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from safetensors import SafetensorError

from spelling_transfer.commands.errors import explain
from spelling_transfer.models.folder import MANIFEST, ModelFolder, ModelFolderError, new_folder


def write(target: Path, text: str = "weights") -> ModelFolder:
    with new_folder(target, {"kind": "test"}) as work:
        (work / "config.json").write_text("{}")
        (work / "model.safetensors").write_text(text)
    return ModelFolder(target)


def test_a_written_folder_opens_and_keeps_its_notes(tmp_path: Path) -> None:
    write(tmp_path / "model")
    assert ModelFolder.open(tmp_path / "model").manifest()["kind"] == "test"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failed_write_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "model", "old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "model", {}) as work:  # noqa: PT012
        (work / "model.safetensors").write_text("half")
        raise RuntimeError
    assert (ModelFolder.open(tmp_path / "model").path / "model.safetensors").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_new_folder_replaces_the_old_one(tmp_path: Path) -> None:
    old = write(tmp_path / "model", "old").sha256
    assert write(tmp_path / "model", "new").sha256 != old


@pytest.mark.parametrize("damage", ["altered", "missing", "manifest"])
def test_a_damaged_folder_is_refused_by_file(tmp_path: Path, damage: str) -> None:
    write(tmp_path / "model")
    file = tmp_path / "model" / (MANIFEST if damage == "manifest" else "model.safetensors")
    file.unlink() if damage == "missing" else file.write_text("cut")
    with pytest.raises(ModelFolderError, match=file.name):
        ModelFolder.open(tmp_path / "model")


def test_a_folder_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"nowhere: no such model folder.*kedro pretrain"):
        ModelFolder.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFolderError, match="neither"):
        ModelFolder.open(tmp_path / "empty")


@pytest.mark.parametrize("closed", ["model.safetensors", MANIFEST, "."])
def test_a_file_that_may_not_be_read_is_named_with_a_remedy(
    shared_folder: Path, another_user: Callable[[], AbstractContextManager[None]], closed: str
) -> None:
    folder = write(shared_folder / "model").path
    with another_user():
        ModelFolder.open(folder)
    (folder / closed).chmod(0)
    with another_user(), pytest.raises(ModelFolderError, match=r"you may not read it.*chmod"):
        ModelFolder.open(folder)
    (folder / closed).chmod(0o755)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (MANIFEST, b"[" * 100_000),
        ("model.safetensors", (100_000).to_bytes(8, "little") + b"[" * 100_000),
        ("model.safetensors.index.json", b'{"weight_map": {"a": 5}}'),
        ("model.safetensors.index.json", b"[" * 100_000),
    ],
)
def test_json_that_no_model_has_is_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=name):
        ModelFolder.open(tmp_path)


def test_what_a_mac_keeps_beside_a_file_is_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "._model.safetensors").write_bytes(b"\0\5\x16\7")
    (tmp_path / "._model.safetensors.index.json").write_bytes(b"\0\5\x16\7")
    ModelFolder.open(tmp_path)


def test_a_header_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write((200_000_000).to_bytes(8, "little"))
        file.truncate(200_000_008)  # a file with a hole, which takes no room on the disk
    tracemalloc.start()
    with pytest.raises(ModelFolderError, match="not the header of a safetensors file"):
        ModelFolder.open(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_weights_that_find_no_room_are_an_error_of_the_system_that_names_the_folder(tmp_path: Path) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "model", {"kind": "test"}):
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(OSError, match="No space left on device") as full:
        fill()
    assert explain(full.value) == (
        f"{tmp_path / 'model'}: No space left on device. Make room and run again. Temporary files go to "
        f"{tempfile.gettempdir()}; TMPDIR changes that."
    )
    assert not list(tmp_path.iterdir())
