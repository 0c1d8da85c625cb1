"""The hub's own client against a server on loopback that speaks as much of the hub as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from kedro.io import DatasetError

from spelling_transfer.models.folder import ModelFolderError
from spelling_transfer.storage import HubModelDataset

COMMIT = "1cfa9a7208912126459214e8b04321603b3df60c"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
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
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_comes_without_pickles_and_without_sampling_of_its_own(hub: str) -> None:
    dataset = HubModelDataset(repo_id="someone/tiny", revision=COMMIT, endpoint=hub)
    assert not dataset.exists()
    folder = dataset.load()
    assert sorted(file.name for file in folder.path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder.path / "model.safetensors").read_bytes() == b"weights"
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


def test_a_revision_has_to_be_named() -> None:
    with pytest.raises(ModelFolderError, match="revision: missing for someone/tiny"):
        HubModelDataset(repo_id="someone/tiny")


def test_a_branch_is_no_revision() -> None:
    with pytest.raises(ModelFolderError, match="'main' of someone/tiny is not a commit"):
        HubModelDataset(repo_id="someone/tiny", revision="main")
