"""``kedro bundle``: what its commands print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from spelling_transfer.commands.bundle import bundle
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, open_store


def test_the_commands(store: BundleStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def kedro(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(bundle, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result.output

    assert "version 1, 7 files" in kedro("push", source, store.url, "--note", "first")
    assert "nothing new since version 1" in kedro("push", source, store.url)
    assert json.loads(kedro("push", source, store.url, "--json"))["sent_bytes"] == 0
    assert "fetched 6 files" in kedro("pull", store.url, "target")
    assert "all as said" in kedro("verify", "target")
    assert "7 files, all as said" in kedro("verify", store.url)
    assert "first" in kedro("list", store.url)
    assert json.loads(kedro("list", store.url, "--json"))[0]["n_files"] == 7
    (tmp_path / "target/08_reporting/a ü 漢.txt").write_text("changed")
    assert "1 not as the manifest says" in kedro("verify", "target", code=1)
    (source / "08_reporting/a ü 漢.txt").write_text("another")
    kedro("push", source, store.url)
    assert "changed here" in kedro("pull", store.url, "target", code=1)
    assert "would remove 1 versions" in kedro("prune", store.url, "--keep", 1, "--dry-run")
    assert json.loads(kedro("prune", store.url, "--keep", 1, "--json"))["removed"] == [1]
    kedro("prune", store.url, "--keep", 0, code=2)
    kedro("pull", tmp_path / "nothing", "target", code=1)
    assert json.loads(kedro("schema"))["title"] == "BundleManifest"
    for command in ("push", "pull", "list", "prune", "verify"):
        assert "Example" in kedro(command, "--help")


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "spelling_transfer.storage.bundles.push.push_bundle", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    result = CliRunner().invoke(bundle, ["push", str(source), str(tmp_path / "store")])
    assert result.exit_code == 130
    assert "the same command resumes from there" in result.output


def test_keys_are_made_for_the_owner_alone_and_never_overwritten(tmp_path: Path, source: Path, monkeypatch):
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    private = tmp_path / "key.pem"
    assert CliRunner().invoke(bundle, ["keygen", str(private)]).exit_code == 0
    assert private.stat().st_mode & 0o777 == 0o600
    before = private.read_bytes()
    refused = CliRunner().invoke(bundle, ["keygen", str(private)])
    assert (refused.exit_code, private.read_bytes()) == (1, before)
    assert "never overwritten" in refused.output
    store = open_store(str(tmp_path / "store"))
    push_bundle(source, store, sign_key=private)
    pull_bundle(store, tmp_path / "target", public_key=tmp_path / "key.pub")
