"""What a manifest says, who vouches for it, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spelling_transfer.storage.bundles import manifest as manifest_module
from spelling_transfer.storage.bundles.local_files import RECORD
from spelling_transfer.storage.bundles.manifest import make_keys, parse_manifest
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore
from spelling_transfer.storage.bundles.verify import verify_bundle
from spelling_transfer.storage.bundles.versions import prune, read_version
from spelling_transfer.storage.errors import BundleError


def test_the_manifest_says_what_one_has_to_know(store: BundleStore, source: Path):
    push_bundle(source, store, note="for the record")
    manifest = read_version(store)
    words = manifest.files["03_primary/words.parquet"]
    assert (words.rows, words.columns) == (2, {"word": "large_string"})
    assert (manifest.tokenizer_sha256, manifest.template_sha256) == ("a" * 64, "b" * 64)
    assert manifest.policy is not None
    assert manifest.policy.kept is True
    assert manifest.code.sha256 == "c" * 64
    assert (manifest.note, manifest.parents) == ("for the record", [])
    (source / "more.txt").write_text("more")
    push_bundle(source, store)
    assert read_version(store).parents == [manifest.manifest_sha256]


def test_a_manifest_of_a_newer_version_is_refused(store: BundleStore, source: Path, tmp_path: Path):
    push_bundle(source, store)
    newer = json.loads(read_version(store).to_bytes()) | {"format": 2, "colours": []}
    store.create_manifest(2, json.dumps(newer).encode())
    with pytest.raises(BundleError, match=r"format 2 is newer than 1\. Update"):
        pull_bundle(store, tmp_path / "target")
    with pytest.raises(BundleError, match="newer"):
        parse_manifest(json.dumps(newer).encode(), "there")


def test_signed_versions(store: BundleStore, source: Path, tmp_path: Path):
    for name in ("ours", "theirs"):
        make_keys(tmp_path / f"{name}.pem")
    push_bundle(source, store)
    with pytest.raises(BundleError, match="is not signed"):
        pull_bundle(store, tmp_path / "target", public_key=tmp_path / "ours.pub")
    (source / "more").touch()
    push_bundle(source, store, sign_key=tmp_path / "ours.pem")
    with pytest.raises(BundleError, match="not signed with the key of"):
        pull_bundle(store, tmp_path / "target", public_key=tmp_path / "theirs.pub")
    pull_bundle(store, tmp_path / "target", public_key=tmp_path / "ours.pub")
    assert verify_bundle(str(tmp_path / "target" / RECORD)) == []
    # The same files, signed by somebody else, are a version of their own.
    assert push_bundle(source, store, sign_key=tmp_path / "theirs.pem").number == 3
    pull_bundle(store, tmp_path / "target", public_key=tmp_path / "theirs.pub")
    assert not push_bundle(source, store, sign_key=tmp_path / "theirs.pem").is_new
    with pytest.raises(BundleError, match="not a private key"):
        push_bundle(source, store, sign_key=tmp_path / "ours.pub")


def test_a_private_key_is_never_left_alone_nor_named_as_a_public_one(tmp_path: Path):
    (tmp_path / "ours.pub").write_text("of another key")
    with pytest.raises(BundleError, match=r"ours\.pub: exists already"):
        make_keys(tmp_path / "ours.pem")
    with pytest.raises(BundleError, match=r"Name the private one theirs\.pem"):
        make_keys(tmp_path / "theirs.pub")
    assert [file.name for file in tmp_path.iterdir()] == ["ours.pub"]


def test_a_clock_that_is_wrong_changes_nothing(store: BundleStore, source: Path, monkeypatch: pytest.MonkeyPatch):
    from datetime import UTC, datetime

    push_bundle(source, store)

    class LongAgo(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(1999, 12, 31, tzinfo=UTC)

    monkeypatch.setattr(manifest_module, "datetime", LongAgo)
    (source / "later.txt").write_text("later")
    assert push_bundle(source, store).number == 2
    assert "later.txt" in read_version(store).files
    assert prune(store, 1).kept == [2]


def test_a_manifest_that_is_nested_without_end_is_refused():
    with pytest.raises(BundleError, match="somewhere: not a manifest"):
        parse_manifest(b"[" * 100_000, "somewhere")
