"""A push sends what the store lacks, once, and makes a version of what stood still."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_fixtures import content

from spelling_transfer.storage.bundles.local_files import RECORD, STAGING
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, open_store
from spelling_transfer.storage.bundles.verify import verify_bundle, verify_store
from spelling_transfer.storage.bundles.versions import read_version
from spelling_transfer.storage.errors import BundleError


def test_what_is_pushed_arrives_whole_and_is_sent_once(store: BundleStore, source: Path, tmp_path: Path):
    first = push_bundle(source, store, note="first")
    assert (first.number, first.is_new, first.n_files) == (1, True, 7)
    again = push_bundle(source, store)
    assert (again.number, again.is_new, again.sent_files, again.sent_bytes) == (1, False, 0, 0)
    assert again.manifest_sha256 == first.manifest_sha256
    target = tmp_path / "target"
    result = pull_bundle(store, target)
    assert content(target) == content(source)
    assert result.received_bytes == sum(read_version(store).hashes.values())
    assert verify_bundle(str(target / RECORD)) == []
    assert pull_bundle(store, target).received_files == 0
    assert not (target / STAGING).exists()


def test_patterns_choose_files(store: BundleStore, source: Path):
    result = push_bundle(source, store, include=["0[36]_*", "7_model_output/*"], exclude=["*/same.*"])
    assert result.left_out == ["7_model_output/*: no file is like this pattern"]  # mistyped: it is not in the version
    assert sorted(read_version(store).files) == ["03_primary/words.parquet", "06_models/adapter/model.safetensors"]
    (source / "conf").mkdir()
    (source / "conf/credentials.yml").write_text("key: secret")
    (left_out,) = push_bundle(source, store, include=["conf/*", "0[36]_*"], exclude=["*/same.*"]).left_out
    assert left_out.startswith("conf/credentials.yml: may hold credentials")  # the pattern is like that file


def test_two_pushers_at_once_make_two_whole_versions(store: BundleStore, source: Path, tmp_path: Path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / "theirs.txt").write_text("theirs")
    original = store.create_manifest

    def late(number: int, data: bytes) -> bool:
        monkeypatch.setattr(store, "create_manifest", original)
        push_bundle(other, store)  # takes the number first
        return original(number, data)

    monkeypatch.setattr(store, "create_manifest", late)
    result = push_bundle(source, store)
    assert result.number == 2
    assert sorted(read_version(store, 1).files) == ["theirs.txt"]
    assert "theirs.txt" not in read_version(store, 2).files
    assert read_version(store, 2).parents == [read_version(store, 1).manifest_sha256]
    assert verify_store(store, 1)[1] == verify_store(store, 2)[1] == []


def test_a_folder_is_not_pushed_into_itself(source: Path):
    with pytest.raises(BundleError, match="it would contain itself"):
        push_bundle(source, open_store(str(source / "store")))
    assert not (source / "store").exists()


def test_a_note_that_is_too_long_is_refused_before_anything_is_sent(source: Path, tmp_path: Path):
    with pytest.raises(BundleError, match="has 1001 characters; at most 1000"):
        push_bundle(source, open_store(str(tmp_path / "store")), note="n" * 1001)
    assert not (tmp_path / "store").exists()


def test_a_file_that_changes_while_it_is_read_makes_no_version(
    store: BundleStore, source: Path, monkeypatch: pytest.MonkeyPatch
):
    original = store.put_bytes

    def put(sha256: str, data: bytes) -> None:
        original(sha256, data)
        (source / "03_primary/words.parquet").write_bytes(b"changed")

    monkeypatch.setattr(store, "put_bytes", put)
    with pytest.raises(BundleError, match="changed while it was read"):
        push_bundle(source, store)
    assert store.list_manifests() == []


def test_a_damaged_table_is_named_at_push(store: BundleStore, source: Path):
    (source / "03_primary/words.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(BundleError, match=r"words\.parquet: cannot be read"):
        push_bundle(source, store)
    assert store.list_manifests() == []


def test_empty_and_missing_places(store: BundleStore, tmp_path: Path):
    with pytest.raises(BundleError, match="there is no such folder"):
        push_bundle(tmp_path / "nowhere", store)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BundleError, match="no files to push"):
        push_bundle(tmp_path / "nothing", store)
    with pytest.raises(BundleError, match="holds no bundle"):
        pull_bundle(store, tmp_path / "target")
