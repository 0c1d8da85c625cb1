"""Bundles that are pushed and pulled: what arrives, what is sent, what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.commands.bundle import bundle
from spelling_transfer.storage.bundles import local_files as bundle_names
from spelling_transfer.storage.bundles.local_files import RECORD, STAGING, FileChangedError, check_name, scan_folder
from spelling_transfer.storage.bundles.manifest import parse_manifest
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, StoreError, open_store
from spelling_transfer.storage.bundles.stores.base import content_key
from spelling_transfer.storage.bundles.verify import verify_bundle, verify_store
from spelling_transfer.storage.bundles.versions import StoreBusyError, list_versions, locked, prune, read_version
from spelling_transfer.storage.errors import BundleError

from .conftest import use_identity

LARGE = bytes(range(256)) * (80 << 10)  # 20 MiB: three parts


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BundleStore:
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    if request.param == "s3":
        return open_store(request.getfixturevalue("s3"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder as runs leave it: a table, records, a model, odd but allowed names."""
    folder = tmp_path / "source"
    for name in ("03_primary", "05_model_input", "06_models/adapter", "08_reporting"):
        (folder / name).mkdir(parents=True)
    pd.DataFrame({"word": ["straw", "berry"]}).to_parquet(folder / "03_primary/words.parquet")
    prepared = {"tokenizer_sha256": "a" * 64, "template_sha256": "b" * 64, "code": {"sha256": "c" * 64}}
    (folder / "05_model_input/prep_manifest.json").write_text(json.dumps(prepared))
    (folder / "06_models/adapter/model.safetensors").write_bytes(b"weights")
    (folder / "06_models/adapter/same.safetensors").write_bytes(b"weights")
    (folder / "08_reporting/policy_report.json").write_text(json.dumps({"kept": True}))
    (folder / "08_reporting/a ü 漢.txt").write_text("odd")
    (folder / "08_reporting/empty").touch()
    (folder / "08_reporting/.index.html.0123.partial").write_text("being written")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECORD and not path.name.endswith(".partial")
    }


def damage(store: BundleStore, sha256: str, s3_server: Any = None) -> None:
    """Flips a byte of stored content, as a bad disk would."""
    if store.url.startswith("s3://"):
        bucket, _, prefix = store.url.removeprefix("s3://").partition("/")
        client, key = s3_server.client(), f"{prefix}/{content_key(sha256)}"
        data = bytearray(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        data[len(data) // 2] ^= 1
        client.put_object(Bucket=bucket, Key=key, Body=bytes(data))
    else:
        file = Path(store.url) / content_key(sha256)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)


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


def test_only_what_changed_is_sent_and_fetched_and_what_is_gone_goes(store: BundleStore, source: Path, tmp_path: Path):
    target = tmp_path / "target"
    push_bundle(source, store)
    pull_bundle(store, target)
    (target / "own.txt").write_text("not of the bundle")
    (source / "03_primary/words.parquet").unlink()
    (source / "08_reporting/empty").write_text("no longer")
    assert push_bundle(source, store).sent_bytes == len("no longer")
    result = pull_bundle(store, target)
    assert (result.received_bytes, result.removed_files) == (len("no longer"), 1)
    assert not (target / "03_primary").exists()
    assert (target / "own.txt").read_text() == "not of the bundle"
    pull_bundle(store, target, number=1)
    assert (target / "03_primary/words.parquet").is_file()
    assert (target / "08_reporting/empty").read_bytes() == b""


def test_patterns_choose_files(store: BundleStore, source: Path):
    push_bundle(source, store, include=["0[36]_*"], exclude=["*/same.*"])
    assert sorted(read_version(store).files) == ["03_primary/words.parquet", "06_models/adapter/model.safetensors"]


def test_changes_made_here_are_not_destroyed_unless_asked(store: BundleStore, source: Path, tmp_path: Path):
    target = tmp_path / "target"
    push_bundle(source, store)
    pull_bundle(store, target)
    mine = target / "06_models/adapter/model.safetensors"
    mine.write_bytes(b"tuned here")
    (source / "06_models/adapter/model.safetensors").write_bytes(b"tuned there")
    push_bundle(source, store)
    with pytest.raises(BundleError, match=r"06_models/adapter/model\.safetensors: changed here"):
        pull_bundle(store, target)
    assert mine.read_bytes() == b"tuned here"
    pull_bundle(store, target, overwrite=True)
    assert mine.read_bytes() == b"tuned there"


def test_results_go_back_the_same_way(store: BundleStore, source: Path, tmp_path: Path):
    rented = tmp_path / "rented"
    push_bundle(source, store)
    pull_bundle(store, rented)
    (rented / "07_model_output").mkdir()
    (rented / "07_model_output/scores.csv").write_text("task,score\n")
    push_bundle(rented, store)
    result = pull_bundle(store, source)
    assert (source / "07_model_output/scores.csv").read_text() == "task,score\n"
    assert result.received_files == 1


def test_a_large_file_goes_in_parts_and_a_cut_push_sends_only_the_rest(s3: str, tmp_path: Path, monkeypatch):
    from spelling_transfer.storage.bundles.stores.s3 import S3Store

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
    from spelling_transfer.storage.bundles.stores.s3 import S3Store

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


def test_the_server_refuses_other_bytes_than_the_hash_says(s3: str):
    store = open_store(s3)
    with pytest.raises(StoreError, match="received other bytes"):
        store.put_bytes("0" * 64, b"something")
    assert store.list_content() == {}


def test_a_flipped_byte_is_found_never_seen_and_repaired(
    store: BundleStore, source: Path, tmp_path: Path, request: pytest.FixtureRequest
):
    push_bundle(source, store)
    target, sha256 = tmp_path / "target", read_version(store).files["03_primary/words.parquet"].sha256
    server = request.getfixturevalue("s3_server") if store.url.startswith("s3://") else None
    damage(store, sha256, server)
    with pytest.raises(BundleError, match=f"content {sha256[:12]} is damaged there"):
        pull_bundle(store, target)
    assert content(target) == {} or not (target / "03_primary/words.parquet").exists()
    assert not (target / RECORD).exists()
    _, problems = verify_store(store)
    assert [(problem.file, problem.kind) for problem in problems] == [("03_primary/words.parquet", "sha256")]
    verify_store(store, drop_damaged=True)
    assert [problem.kind for problem in verify_store(store)[1]] == ["missing"]
    assert push_bundle(source, store).sent_files == 1
    assert verify_store(store)[1] == []
    pull_bundle(store, target)
    assert content(target) == content(source)


def test_prune_keeps_what_kept_versions_need(store: BundleStore, source: Path, tmp_path: Path):
    note = source / "08_reporting/note.txt"
    for text in ("one", "two", "three"):
        note.write_text(text)
        push_bundle(source, store, note=text)
    assert [version.note for version in list_versions(store)] == ["one", "two", "three"]
    assert list_versions(store)[1].new_bytes == len("two")
    planned = prune(store, 2, dry_run=True)
    assert store.list_manifests() == [1, 2, 3]
    done = prune(store, 2)
    assert (done.kept, done.removed, done.removed_files, done.removed_bytes) == ([2, 3], [1], 1, len("one"))
    assert (planned.removed, planned.removed_bytes) == (done.removed, done.removed_bytes)
    for number in (2, 3):
        assert verify_store(store, number)[1] == []
    with pytest.raises(BundleError, match="has no version 1"):
        pull_bundle(store, tmp_path / "target", number=1)
    note.write_text("four")
    assert push_bundle(source, store).number == 4
    with pytest.raises(BundleError, match="below 1"):
        prune(store, 0)


def test_nothing_is_removed_while_somebody_pushes(store: BundleStore, source: Path):
    push_bundle(source, store)
    with locked(store, "push"):
        with pytest.raises(StoreBusyError, match="a push is under way"):
            prune(store, 1)
        push_bundle(source, store)  # another push is no hindrance
    (source / "more.txt").write_text("more")
    with locked(store, "prune"), pytest.raises(StoreBusyError, match="a prune is under way"):
        push_bundle(source, store)
    assert store.list_locks() == {}
    store.put_lock("push-of-a-killed-process", json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1}).encode())
    store.put_lock("push-of-another-machine", b'{"host": "elsewhere"}')
    with pytest.raises(StoreBusyError, match="elsewhere"):
        prune(store, 1)
    prune(store, 1, ignore_locks=True)


def test_a_damaged_manifest_stops_a_prune_before_anything_goes(tmp_path: Path, source: Path, monkeypatch):
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    store = open_store(str(tmp_path / "store"))
    push_bundle(source, store)
    manifest = tmp_path / "store/manifests/000000001.json"
    whole = manifest.read_text()
    for altered in (whole[:-20], whole.replace('"rows": 2', '"rows": 3'), whole.replace('"format": 1', '"format": 2')):
        manifest.write_text(altered)
        with pytest.raises(BundleError, match=r"manifest|newer"):
            prune(store, 1)
        with pytest.raises(BundleError, match=r"manifest|newer"):
            pull_bundle(store, tmp_path / "target")
    manifest.write_text(whole)
    assert verify_store(store)[1] == []


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


def test_a_clock_that_is_wrong_changes_nothing(store: BundleStore, source: Path, monkeypatch: pytest.MonkeyPatch):
    from datetime import UTC, datetime

    from spelling_transfer.storage.bundles import manifest as bundle_manifest

    push_bundle(source, store)

    class LongAgo(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(1999, 12, 31, tzinfo=UTC)

    monkeypatch.setattr(bundle_manifest, "datetime", LongAgo)
    (source / "later.txt").write_text("later")
    assert push_bundle(source, store).number == 2
    assert "later.txt" in read_version(store).files
    assert prune(store, 1).kept == [2]


def test_a_pull_that_was_cut_off_while_putting_files_into_place_goes_on(
    store: BundleStore, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "target"
    push_bundle(source, store)
    pull_bundle(store, target)
    for name in ("08_reporting/empty", "06_models/adapter/model.safetensors", "new.txt"):
        (source / name).write_text("second")
    push_bundle(source, store)
    original, calls = Path.replace, []

    def cut(self: Path, other: Path) -> Path:
        if self.parent.name == STAGING:
            calls.append(self)
            if len(calls) == 2:
                raise KeyboardInterrupt
        return original(self, other)

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        pull_bundle(store, target)
    monkeypatch.setattr(Path, "replace", original)
    assert not (target / RECORD).exists()  # nothing says that this is a version
    pull_bundle(store, target)
    assert content(target) == content(source)
    assert verify_bundle(str(target / RECORD)) == []


def test_signed_versions(store: BundleStore, source: Path, tmp_path: Path):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    for name in ("ours", "theirs"):
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.pem").write_bytes(private)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / f"{name}.pub").write_bytes(public)
    push_bundle(source, store)
    with pytest.raises(BundleError, match="is not signed"):
        pull_bundle(store, tmp_path / "target", public_key=tmp_path / "ours.pub")
    (source / "more").touch()
    push_bundle(source, store, sign_key=tmp_path / "ours.pem")
    with pytest.raises(BundleError, match="not signed with the key of"):
        pull_bundle(store, tmp_path / "target", public_key=tmp_path / "theirs.pub")
    pull_bundle(store, tmp_path / "target", public_key=tmp_path / "ours.pub")
    assert verify_bundle(str(tmp_path / "target" / RECORD)) == []
    with pytest.raises(BundleError, match="not a private key"):
        push_bundle(source, store, sign_key=tmp_path / "ours.pub")


class TestBadInput:
    @pytest.mark.parametrize(
        "name",
        ["../up", "a/../../up", "/etc/passwd", "C:/x", "a//b", "./a", "a/", "a\\b", "a\nb", "a\x00", " a", "a.",
         "e\u0301", RECORD, f"{STAGING}/x", "x" * 241, "/".join(["x" * 200] * 5), "a\u202eb"],
    )  # fmt: skip
    def test_names_that_lead_out_or_cannot_be_kept_are_refused(self, name: str):
        with pytest.raises(BundleError, match="the name"):
            check_name(name, "somewhere")

    @given(st.text(max_size=40))
    def test_a_name_that_is_allowed_stays_below_its_root(self, name: str):
        try:
            check_name(name, "somewhere")
        except BundleError:
            return
        assert Path(os.path.normpath(Path("/root") / name)).is_relative_to("/root/")
        assert Path("/root") / name != Path("/root")

    @given(st.from_regex(bundle_names._PLAIN, fullmatch=True))
    def test_the_short_way_allows_no_name_that_the_long_way_refuses(self, name: str):
        assert bundle_names._problem_of_name(name) is None

    def forged(self, store: BundleStore, source: Path, name: str) -> None:
        push_bundle(source, store)
        manifest = read_version(store)
        files = {name: manifest.files["08_reporting/a ü 漢.txt"]}
        store.create_manifest(2, manifest.model_copy(update={"number": 2, "files": files}).sealed().to_bytes())

    @pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt"])
    def test_a_forged_manifest_writes_nothing_outside(
        self, store: BundleStore, source: Path, tmp_path: Path, name: str
    ):
        self.forged(store, source, name)
        with pytest.raises(BundleError, match="the name"):
            pull_bundle(store, tmp_path / "a" / "target")
        assert not list(tmp_path.rglob("evil.txt"))

    def test_a_link_in_the_target_is_not_followed_outside(self, store: BundleStore, source: Path, tmp_path: Path):
        self.forged(store, source, "linked/evil.txt")
        (tmp_path / "target").mkdir()
        (tmp_path / "outside").mkdir()
        (tmp_path / "target" / "linked").symlink_to(tmp_path / "outside")
        with pytest.raises(BundleError, match="through a link that leads out"):
            pull_bundle(store, tmp_path / "target")
        assert list((tmp_path / "outside").iterdir()) == []

    def test_links_in_the_source_that_lead_out_are_refused(self, tmp_path: Path, source: Path):
        (tmp_path / "secret").write_text("hush")
        (source / "link").symlink_to(tmp_path / "secret")
        with pytest.raises(BundleError, match="a link to"):
            scan_folder(source)
        (source / "link").unlink()
        (source / "link").symlink_to(source / "08_reporting")
        with pytest.raises(BundleError, match="a link to"):
            scan_folder(source)

    @pytest.mark.parametrize("target", ["nowhere", "link"])
    def test_links_that_lead_nowhere_are_refused(self, source: Path, target: str):
        (source / "link").symlink_to(target)
        with pytest.raises(BundleError, match=f"a link to {target}, which leads nowhere"):
            scan_folder(source)

    def test_a_folder_is_not_pushed_into_itself(self, source: Path):
        with pytest.raises(BundleError, match="it would go into itself"):
            push_bundle(source, open_store(str(source / "store")))
        assert not (source / "store").exists()

    def test_a_prune_makes_no_store(self, tmp_path: Path):
        assert prune(open_store(str(tmp_path / "nothing")), 1).kept == []
        assert not (tmp_path / "nothing").exists()

    def test_names_that_a_mac_would_merge_are_refused(self, source: Path):
        (source / "Readme").touch()
        (source / "README").touch()
        with pytest.raises(BundleError, match="differ in case alone"):
            scan_folder(source)

    def test_a_fifo_is_refused(self, source: Path):
        os.mkfifo(source / "pipe")
        with pytest.raises(BundleError, match="neither a file nor a folder"):
            scan_folder(source)

    def test_a_file_that_changes_while_it_is_read_makes_no_version(
        self, store: BundleStore, source: Path, monkeypatch: pytest.MonkeyPatch
    ):
        original = store.put_bytes

        def put(sha256: str, data: bytes) -> None:
            original(sha256, data)
            (source / "03_primary/words.parquet").write_bytes(b"changed")

        monkeypatch.setattr(store, "put_bytes", put)
        with pytest.raises(FileChangedError, match="changed while it was read"):
            push_bundle(source, store)
        assert store.list_manifests() == []

    def test_a_large_file_that_changes_is_never_stored_under_a_wrong_hash(self, store: BundleStore, tmp_path: Path):
        file = tmp_path / "large.bin"
        file.write_bytes(LARGE)
        with pytest.raises(BundleError, match="changed while"):
            store.put_file("0" * 64, file, lambda _: None)
        assert store.list_content() == {}

    def test_a_manifest_of_a_newer_version_is_refused(self, store: BundleStore, source: Path, tmp_path: Path):
        push_bundle(source, store)
        newer = json.loads(read_version(store).to_bytes()) | {"format": 2, "colours": []}
        store.create_manifest(2, json.dumps(newer).encode())
        with pytest.raises(BundleError, match=r"format 2 is newer than 1\. Update"):
            pull_bundle(store, tmp_path / "target")
        with pytest.raises(BundleError, match="newer"):
            parse_manifest(json.dumps(newer).encode(), "there")

    def test_a_damaged_table_is_named_at_push(self, store: BundleStore, source: Path):
        (source / "03_primary/words.parquet").write_bytes(b"PAR1 not really PAR1")
        with pytest.raises(BundleError, match=r"words\.parquet: cannot be read"):
            push_bundle(source, store)
        assert store.list_manifests() == []

    def test_empty_and_missing_places(self, store: BundleStore, tmp_path: Path):
        with pytest.raises(BundleError, match="there is no such folder"):
            push_bundle(tmp_path / "nowhere", store)
        (tmp_path / "nothing").mkdir()
        with pytest.raises(BundleError, match="no files to push"):
            push_bundle(tmp_path / "nothing", store)
        with pytest.raises(BundleError, match="holds no bundle"):
            pull_bundle(store, tmp_path / "target")

    def test_places_of_other_kinds_are_refused(self):
        for url in ("gs://bucket/x", "http://host/x", "s3://", "s3://a bucket/x", "s3://bucket/../x", "s3://bucket//x"):
            with pytest.raises(StoreError):
                open_store(url)

    def test_a_full_disk_is_said_and_leaves_nothing_that_looks_whole(
        self, store: BundleStore, source: Path, tmp_path: Path
    ):
        import resource

        (source / "large.bin").write_bytes(LARGE)
        push_bundle(source, store)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        try:
            with pytest.raises(BundleError, match="cannot be written"):
                pull_bundle(store, tmp_path / "target")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert content(tmp_path / "target").keys() <= {f"{STAGING}/{n}" for n in read_version(store).hashes}
        assert not (tmp_path / "target" / RECORD).exists()
        pull_bundle(store, tmp_path / "target")
        assert content(tmp_path / "target") == content(source)


class TestRights:
    def test_a_reader_pulls_and_cannot_push(
        self, s3: str, s3_server: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        self, s3: str, s3_server: Any, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    def test_a_clock_that_the_server_refuses_is_said(
        self, s3: str, source: Path, monkeypatch: pytest.MonkeyPatch, hours: int
    ):
        from datetime import timedelta

        from botocore import auth

        true_time = auth.get_current_datetime
        monkeypatch.setattr(auth, "get_current_datetime", lambda: true_time() + timedelta(hours=hours))
        with pytest.raises(StoreError, match="the clock of this machine is wrong"):
            push_bundle(source, open_store(s3))


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
