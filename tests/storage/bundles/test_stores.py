"""What kinds of places there are for bundles; content that is not what its hash says is refused by each."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from bundle_fixtures import LARGE

from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, StoreError, open_store
from spelling_transfer.storage.errors import BundleError


def test_a_large_file_that_changes_is_never_stored_under_a_wrong_hash(store: BundleStore, tmp_path: Path):
    file = tmp_path / "large.bin"
    file.write_bytes(LARGE)
    with pytest.raises(BundleError, match="changed while"):
        store.put_file("0" * 64, file, lambda _: None)
    assert store.list_content() == {}


def test_places_of_other_kinds_are_refused():
    for url in (
        "gs://bucket/x",
        "http://host/x",
        "s3://",
        "s3://a bucket/x",
        "s3://bucket/../x",
        "s3://bucket//x",
        "lightning://owner/teamspace/../x",
        "lightning://../teamspace",
        "https://ours:hush@host/x",
        "s3://ours:hush@bucket/x",
        "s3://ours:hush@bucket/../x",
    ):
        with pytest.raises(StoreError) as caught:
            open_store(url)
        assert "hush" not in str(caught.value)


def test_only_what_a_store_itself_left_half_written_is_removed(tmp_path: Path):
    store, long_ago = open_store(str(tmp_path)), (1.0, 1.0)
    own, film = tmp_path / "files/3f/.3f9a.0123.partial", tmp_path / "films/.film.partial"
    for file in (own, film):
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, long_ago)
    assert store.clean_up(3600) == 1
    assert film.exists()
    assert not own.exists()


def test_what_may_not_be_read_in_a_folder_is_named_and_not_taken_for_nothing(
    shared_folder: Path, another_user: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(shared_folder / "cache"))
    source, store = shared_folder / "source", open_store(str(shared_folder / "store"))
    source.mkdir()
    (source / "a").touch()
    push_bundle(source, store)
    content = next(file for file in (shared_folder / "store/files").rglob("*") if file.is_file())
    for closed in (content, next((shared_folder / "store/manifests").iterdir()), shared_folder / "store/manifests"):
        closed.chmod(0)
        refused = pytest.raises(StoreError, match=f"{closed} cannot be read: Permission denied")
        with another_user(), tempfile.TemporaryDirectory() as target, refused:
            pull_bundle(store, Path(target))
