"""Bundles on a real S3 server: parts that are sent once, identities, and what the server refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bundle_fixtures import LARGE, content
from s3_fixtures import use_identity

from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import StoreError, open_store
from spelling_transfer.storage.bundles.stores.base import content_key
from spelling_transfer.storage.bundles.stores.s3 import S3Store
from spelling_transfer.storage.bundles.verify import verify_store
from spelling_transfer.storage.bundles.versions import prune


def test_a_large_file_goes_in_parts_and_a_cut_push_sends_only_the_rest(s3: str, tmp_path: Path, monkeypatch):
    folder, store = tmp_path / "large", S3Store(s3, jobs=1)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(LARGE)
    original, sent = store._client.upload_part, []

    def cut(**arguments: Any) -> Any:
        if len(sent) == 2:
            raise ConnectionError("cut")
        sent.append(len(arguments["Body"]))
        return original(**arguments)

    monkeypatch.setattr(store._client, "upload_part", cut)
    with pytest.raises(StoreError, match="run the same command again"):
        push_bundle(folder, store)
    assert store.list_content() == {}
    assert store.list_manifests() == []
    rest: list[int] = []

    def count(**arguments: Any) -> Any:
        rest.append(len(arguments["Body"]))
        return original(**arguments)

    monkeypatch.setattr(store._client, "upload_part", count)
    push_bundle(folder, store)
    assert sum(sent) + sum(rest) == len(LARGE)
    pull_bundle(store, tmp_path / "target")
    assert (tmp_path / "target/model.safetensors").read_bytes() == LARGE


@pytest.mark.parametrize("completed", [True, False])
def test_an_upload_that_somebody_else_ends_is_no_error(s3: str, tmp_path: Path, monkeypatch, completed: bool):
    folder, store, other = tmp_path / "large", S3Store(s3, jobs=1), S3Store(s3)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(LARGE)
    original, calls = store._client.upload_part, []

    def interfere(**arguments: Any) -> Any:
        calls.append(arguments["PartNumber"])
        if len(calls) == 2:
            if completed:
                push_bundle(folder, other)
            else:
                other._client.abort_multipart_upload(**{key: arguments[key] for key in ("Bucket", "Key", "UploadId")})
        return original(**arguments)

    monkeypatch.setattr(store._client, "upload_part", interfere)
    result = push_bundle(folder, store)
    assert (result.number, result.is_new) == (1, not completed)
    assert verify_store(store)[1] == []


def test_only_uploads_begun_long_ago_are_ended(s3: str):
    store = S3Store(s3)
    key = store._prefix + content_key("a" * 64)
    store._client.create_multipart_upload(Bucket=store._bucket, Key=key)
    assert store.clean_up(3600) == 0
    assert len(store._client.list_multipart_uploads(Bucket=store._bucket, Prefix=key)["Uploads"]) == 1
    assert store.clean_up(-60) == 1
    assert "Uploads" not in store._client.list_multipart_uploads(Bucket=store._bucket, Prefix=key)


def test_the_server_refuses_other_bytes_than_the_hash_says(s3: str):
    store = open_store(s3)
    with pytest.raises(StoreError, match="received other bytes"):
        store.put_bytes("0" * 64, b"something")
    assert store.list_content() == {}


def test_a_reader_pulls_and_cannot_push(
    s3: str, s3_server: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from s3_server import READER

    push_bundle(source, open_store(s3))
    use_identity(s3_server, monkeypatch, READER)
    pull_bundle(open_store(s3), tmp_path / "target")
    assert content(tmp_path / "target") == content(source)
    (source / "more").touch()
    with pytest.raises(StoreError, match="this identity may not write there"):
        push_bundle(source, open_store(s3))


def test_wrong_secrets_missing_buckets_and_dead_endpoints(
    s3: str, s3_server: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from s3_server import WRITER, WRONG

    nowhere = open_store("s3://no-such-bucket/x")
    for act in (
        lambda: pull_bundle(nowhere, tmp_path / "target"),
        lambda: push_bundle(source, nowhere),
        lambda: prune(nowhere, 1),
    ):
        with pytest.raises(StoreError, match="the bucket does not exist"):
            act()
    use_identity(s3_server, monkeypatch, WRONG)
    with pytest.raises(StoreError, match="the credentials are refused") as caught:
        push_bundle(source, open_store(s3))
    assert WRONG.secret not in str(caught.value)
    use_identity(s3_server, monkeypatch, WRITER, endpoint="http://192.0.2.1:1")
    with pytest.raises(Exception, match="is not encrypted"):
        open_store(s3)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_the_server_refuses_is_said(s3: str, source: Path, monkeypatch: pytest.MonkeyPatch, hours: int):
    from datetime import timedelta

    from botocore import auth

    true_time = auth.get_current_datetime
    monkeypatch.setattr(auth, "get_current_datetime", lambda: true_time() + timedelta(hours=hours))
    with pytest.raises(StoreError, match="the clock of this machine is wrong"):
        push_bundle(source, open_store(s3))
