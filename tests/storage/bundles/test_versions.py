"""Versions that stay and go, and who may work in a store at once."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from spelling_transfer.storage.bundles import versions
from spelling_transfer.storage.bundles.pull import pull_bundle
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, open_store
from spelling_transfer.storage.bundles.verify import verify_store
from spelling_transfer.storage.bundles.versions import StoreBusyError, list_versions, locked, prune, read_version
from spelling_transfer.storage.errors import BundleError

in_a_folder = pytest.mark.parametrize("store", ["folder"], indirect=True)


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


def test_a_prune_that_is_cut_off_leaves_no_version_without_its_content(
    store: BundleStore, source: Path, monkeypatch: pytest.MonkeyPatch
):
    for text in ("one", "two"):
        (source / "note.txt").write_text(text)
        push_bundle(source, store)

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("delete_manifest", "delete_content"):
        with monkeypatch.context() as patched:
            patched.setattr(store, name, cut)
            with pytest.raises(KeyboardInterrupt):
                prune(store, 1)
        for number in store.list_manifests():
            assert verify_store(store, number)[1] == []
    assert store.list_manifests() == [2]
    assert prune(store, 1).removed_bytes == len("one")


def test_nothing_is_removed_while_somebody_pushes(store: BundleStore, source: Path):
    push_bundle(source, store)
    with locked(store, "push"):
        with pytest.raises(StoreBusyError, match="a push is under way"):
            prune(store, 1)
        push_bundle(source, store)  # another push is no hindrance
    (source / "more.txt").write_text("more")
    with locked(store, "prune"):
        with pytest.raises(StoreBusyError, match="a prune is under way"):
            push_bundle(source, store)
        with pytest.raises(StoreBusyError, match="a prune is under way"):
            prune(store, 1)
    assert store.list_locks() == {}
    store.put_lock("push-of-a-killed-process", json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1}).encode())
    store.put_lock("push-of-another-machine", b'{"host": "elsewhere"}')
    with pytest.raises(StoreBusyError, match="elsewhere"):
        prune(store, 1)
    prune(store, 1, ignore_locks=True)


@in_a_folder
def test_a_lock_of_yesterday_or_of_a_process_whose_number_is_anothers_now_hinders_nobody(
    store: BundleStore, tmp_path: Path, source: Path
):
    push_bundle(source, store)
    store.put_lock("push-old", b'{"host": "elsewhere"}')
    (file,) = (tmp_path / "store").rglob("push-old*")
    for hours, hinders in ((23, True), (25, False)):
        os.utime(file, (time.time() - hours * 3600,) * 2)
        if hinders:
            with pytest.raises(StoreBusyError, match="elsewhere"):
                prune(store, 1)
        else:
            prune(store, 1)
    store.put_lock("push-x", json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "began": 1.0}).encode())
    prune(store, 1)
    assert list(store.list_locks()) == ["push-old"]


@in_a_folder
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil gives no other number")
def test_a_lock_of_a_process_that_lives_counts_when_the_clock_was_set(
    store: BundleStore, source: Path, monkeypatch: pytest.MonkeyPatch
):
    push_bundle(source, store)
    booted = psutil.boot_time()
    with locked(store, "push"):
        monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted + 2)
        with pytest.raises(StoreBusyError, match="a push is under way"):
            prune(store, 1)


def test_a_lock_that_cannot_be_read_counts_and_uploads_of_today_are_left_alone(
    store: BundleStore, source: Path, monkeypatch: pytest.MonkeyPatch
):
    push_bundle(source, store)
    store.put_lock("push-x", b"{")
    with pytest.raises(StoreBusyError, match="on a machine"):
        prune(store, 1)
    ages: list[float] = []
    monkeypatch.setattr(store, "clean_up", lambda seconds: ages.append(seconds) or 3)
    assert prune(store, 1, ignore_locks=True).ended_uploads == 3
    assert ages == [7 * 24 * 3600]


@in_a_folder
def test_a_lock_that_is_held_long_is_written_again(store: BundleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with locked(store, "push") as lock:
        (file,) = (tmp_path / "store").rglob("push-*")
        os.utime(file, (0, 0))
        lock.refresh()
        assert file.stat().st_mtime == 0  # written less than an hour ago, by this process's clock
        monkeypatch.setattr(versions, "_REFRESH_SECONDS", -1)
        lock.refresh()
        assert time.time() - file.stat().st_mtime < 60
    assert store.list_locks() == {}


def test_a_manifest_under_another_versions_number_is_refused(store: BundleStore, source: Path):
    push_bundle(source, store)
    store.create_manifest(2, store.read_manifest(1))
    with pytest.raises(BundleError, match="version 2: the manifest is that of version 1"):
        read_version(store)
    assert read_version(store, 1).number == 1


@in_a_folder
def test_a_file_whose_name_is_nearly_a_number_is_no_version(store: BundleStore, tmp_path: Path, source: Path):
    push_bundle(source, store)
    (tmp_path / "store/manifests/².json").write_text("{}")
    assert store.list_manifests() == [1]


@in_a_folder
def test_a_damaged_manifest_stops_a_prune_before_anything_goes(store: BundleStore, tmp_path: Path, source: Path):
    push_bundle(source, store)
    manifest = tmp_path / "store/manifests/000000001.json"
    whole = manifest.read_text()
    for altered in (whole[:-20], whole.replace('"rows": 2', '"rows": 3'), whole.replace('"format": 1', '"format": 2')):
        manifest.write_text(altered)
        what_to_do = "newer.*Update" if 'format": 2' in altered else "manifest.*remove that to do without"
        with pytest.raises(BundleError, match=what_to_do):
            prune(store, 1)
        with pytest.raises(BundleError, match=what_to_do):
            pull_bundle(store, tmp_path / "target")
    manifest.write_text(whole)
    assert verify_store(store)[1] == []


def test_a_prune_makes_no_store(tmp_path: Path):
    assert prune(open_store(str(tmp_path / "nothing")), 1).kept == []
    assert not (tmp_path / "nothing").exists()


def test_where_there_is_no_version_yet_the_content_of_the_first_push_stays(store: BundleStore, source: Path):
    push_bundle(source, store)
    store.delete_manifest(1)
    n_contents = len(store.list_content())
    for dry_run in (True, False):
        done = prune(store, 1, dry_run=dry_run)
        assert (done.kept, done.removed_files, done.removed_bytes) == ([], 0, 0)
    assert len(store.list_content()) == n_contents > 0
