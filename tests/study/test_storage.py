"""A storage that is not there, is not one, or is full says so once, before or instead of training."""

from __future__ import annotations

import shutil
import socket
from collections import namedtuple
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import sqlalchemy as sa

from spelling_transfer.study.records import Proposal, Records, TrialRow
from spelling_transfer.study.storage import StorageError, check_room, open_engine, storage_url


def test_without_a_url_the_study_is_in_its_folder(tmp_path: Path) -> None:
    url = storage_url(None, tmp_path)
    assert (url.get_backend_name(), url.database) == ("sqlite", str(tmp_path / "study.db"))
    open_engine(url).dispose()
    assert (tmp_path / "study.db").is_file()


@pytest.mark.parametrize("text", ["postgresql://u@h/d", "postgres://u@h/d", "postgresql+psycopg://u@h/d"])
def test_postgresql_goes_by_the_driver_that_is_installed(text: str, tmp_path: Path) -> None:
    assert storage_url(text, tmp_path).drivername == "postgresql+psycopg"


@pytest.mark.parametrize(("text", "problem"), [("mysql://u:secret@h/d", "'mysql'"), ("secret", "not a URL")])
def test_another_kind_of_storage_is_refused_without_a_word_of_the_password(
    text: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=problem) as refused:
        storage_url(text, tmp_path)
    assert "secret" not in str(refused.value)


def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = storage_url(f"postgresql://user:secret@127.0.0.1:{port}/studies", Path())
    with pytest.raises(StorageError, match="cannot be opened") as missing:
        open_engine(url, patience_seconds=0.0)
    assert f"127.0.0.1:{port}" in str(missing.value)
    assert "secret" not in str(missing.value)


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no folder"):
        open_engine(storage_url(f"sqlite:///{tmp_path}/missing/study.db", tmp_path))


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("notes\n" * 1000)
    with pytest.raises(StorageError, match=r"not a database.*remove it to begin the study again"):
        open_engine(storage_url(None, tmp_path))


def test_a_database_that_was_cut_short_says_what_to_do_with_the_file(tmp_path: Path) -> None:
    engine = open_engine(storage_url(None, tmp_path))
    Records(engine, "study").create("{}", base=False)
    with engine.connect() as connection:
        connection.connection.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
    engine.dispose()
    file = tmp_path / "study.db"
    file.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(StorageError, match=r"malformed.*put a copy back") as damaged:
        open_engine(storage_url(None, tmp_path))
    assert "is running" not in str(damaged.value)


def test_a_study_of_another_user_is_read_and_not_written(
    shared_folder: Path, another_user: Callable[[], AbstractContextManager[None]]
) -> None:
    engine = open_engine(storage_url(None, shared_folder))
    Records(engine, "study").create("{}", base=False)
    engine.dispose()
    shared_folder.chmod(0o555)
    with another_user():
        read = Records(open_engine(storage_url(None, shared_folder), read_only=True), "study")
        assert read.find() is not None
        assert read.trials() == []
        with pytest.raises(StorageError, match="cannot be written to"):
            open_engine(storage_url(None, shared_folder))
    shared_folder.chmod(0o755)


def test_a_storage_that_fills_says_so_and_keeps_what_it_had(tmp_path: Path) -> None:
    engine = open_engine(storage_url(None, tmp_path))
    records = Records(engine, "study")
    records.create("{}", base=False)
    row = records.claim("worker", 1, lambda _: Proposal({}), is_dead=lambda *_: False)
    assert row is not None

    @sa.event.listens_for(engine, "checkout")
    def no_more_pages(connection: object, *_: object) -> None:
        connection.execute("PRAGMA max_page_count=20")  # type: ignore[attr-defined]  # what a full disk answers

    def fill(row: TrialRow) -> None:
        for step in range(1000):
            records.write(row, steps=[("evaluation", {"step": step, "correct": (True,) * 4000})], step=step)

    with pytest.raises(StorageError, match=r"full.*Make room"):
        fill(row)
    kept = records.steps("evaluation")[0]
    assert [each["step"] for each in kept] == list(range(len(kept)))  # none of them by halves
    assert records.trials()[0].step == len(kept) - 1
    engine.dispose()


def test_a_full_disk_is_known_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(StorageError, match="Make room"):
        check_room(tmp_path)
