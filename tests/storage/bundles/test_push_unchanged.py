"""A push of what was pushed before: nothing is read or sent, and no change goes unseen."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from s3_fixtures import use_identity

from spelling_transfer.storage.bundles import local_files
from spelling_transfer.storage.bundles.local_files import RECORD
from spelling_transfer.storage.bundles.push import push_bundle
from spelling_transfer.storage.bundles.stores import BundleStore, open_store
from spelling_transfer.storage.bundles.verify import verify_store


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPELLING_TRANSFER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "source"
    (folder / "a").mkdir(parents=True)
    for number in range(5):
        (folder / "a" / f"{number}.txt").write_text(f"text {number}")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts of files are kept however young the files are."""
    monkeypatch.setattr(local_files, "_TICK_SECONDS", -1.0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that a push reads."""
    names: list[str] = []
    original = Path.read_bytes

    def read(self: Path) -> bytes:
        if self.suffix == ".txt":
            names.append(self.name)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", read)
    return names


@pytest.mark.usefixtures("old_files")
def test_what_is_unchanged_is_not_read_unless_asked(store: BundleStore, source: Path, reads: list[str]):
    push_bundle(source, store)
    reads.clear()
    again = push_bundle(source, store)
    assert (again.number, again.is_new, again.n_files, again.sent_bytes) == (1, False, 5, 0)
    assert reads == []
    (source / "a" / "3.txt").write_text("TEXT 3")
    assert push_bundle(source, store).sent_bytes == 6
    assert reads == ["3.txt"]
    push_bundle(source, store, rehash=True)
    assert len(reads) == 6


@pytest.mark.usefixtures("old_files")
def test_a_change_is_seen_although_size_and_time_are_set_back(store: BundleStore, source: Path):
    push_bundle(source, store)
    file = source / "a" / "1.txt"
    before = file.stat()
    file.write_text("TEXT 1")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert push_bundle(source, store).sent_bytes == 6


def test_a_change_within_one_tick_of_the_clock_is_seen(
    store: BundleStore, source: Path, monkeypatch: pytest.MonkeyPatch
):
    # A disk with a coarse clock: a file has the same time, whatever is written to it.
    tick = time.time_ns()
    monkeypatch.setattr(local_files, "_TICK_SECONDS", 3600.0)
    monkeypatch.setattr(local_files, "_stamp", lambda status: (status.st_size, tick, tick, status.st_ino))
    push_bundle(source, store)
    (source / "a" / "1.txt").write_text("TEXT 1")
    assert push_bundle(source, store).sent_bytes == 6


def test_a_file_with_a_time_of_the_future_is_read_again(store: BundleStore, source: Path, reads: list[str]):
    push_bundle(source, store)
    for file in source.rglob("*.txt"):
        os.utime(file, (time.time() - 100, time.time() + 1000))
    push_bundle(source, store)
    reads.clear()
    push_bundle(source, store)
    assert len(reads) == 5


@pytest.mark.usefixtures("old_files")
def test_what_is_gone_from_the_store_is_sent_again(store: BundleStore, source: Path):
    push_bundle(source, store)
    push_bundle(source, store)
    store.delete_content(sorted(store.list_content())[:2])
    again = push_bundle(source, store)
    assert (again.is_new, again.sent_files) == (False, 2)
    assert verify_store(store)[1] == []


@pytest.mark.usefixtures("old_files")
@pytest.mark.parametrize("change", ["removed", "renamed", "added"])
def test_files_that_come_go_and_move_make_a_version(store: BundleStore, source: Path, change: str):
    push_bundle(source, store)
    if change == "removed":
        (source / "a" / "1.txt").unlink()
    elif change == "renamed":
        (source / "a" / "1.txt").rename(source / "a" / "one.txt")
    else:
        (source / "a" / "5.txt").write_text("text 1")
    result = push_bundle(source, store)
    assert (result.number, result.is_new, result.sent_bytes) == (2, True, 0)


@pytest.mark.usefixtures("old_files")
def test_another_store_gets_everything(store: BundleStore, source: Path, tmp_path: Path):
    push_bundle(source, store)
    other = open_store(str(tmp_path / "other"))
    assert push_bundle(source, other).sent_files == 5
    assert verify_store(other)[1] == []


@pytest.mark.usefixtures("old_files")
def test_the_record_of_the_version_is_written_again_where_it_is_gone(store: BundleStore, source: Path):
    push_bundle(source, store)
    whole = (source / RECORD).read_bytes()
    (source / RECORD).unlink()
    assert not push_bundle(source, store).is_new
    assert (source / RECORD).read_bytes() == whole


@pytest.mark.usefixtures("old_files")
def test_on_s3_a_push_of_unchanged_data_writes_nothing(
    s3: str, s3_server: Any, source: Path, monkeypatch: pytest.MonkeyPatch
):
    from s3_server import READER

    push_bundle(source, open_store(s3))
    use_identity(s3_server, monkeypatch, READER)
    requests: list[str] = []
    reader: Any = open_store(s3)
    reader._client.meta.events.register("before-send.s3", lambda request, **_: requests.append(request.method))
    result = push_bundle(source, reader)
    assert (result.is_new, result.sent_bytes) == (False, 0)
    assert set(requests) == {"GET"}
    assert len(requests) == 3  # the versions, the latest of them, the content
