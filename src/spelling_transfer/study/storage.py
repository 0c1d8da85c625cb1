"""Where a study's records are kept: SQLite in its folder by default, PostgreSQL by URL; opened with one clear error."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    sleep_using_event,
    stop_before_delay,
    stop_when_event_set,
    wait_exponential,
    wait_fixed,
)

from spelling_transfer.errors import SpellingTransferError, causes, first_line

Result = TypeVar("Result")

FILE_NAME = "study.db"
PATIENCE_SECONDS = 300.0
"""How long a worker waits for a database that has gone away; a restart of PostgreSQL takes seconds."""
NETWORK = {
    "connect_timeout": 10,
    # A network that has gone away is noticed after half a minute; by default, after a quarter of an hour or never.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    # A pooler gives each transaction any of its connections, which need not know what another one has prepared.
    "prepare_threshold": None,
}
_LEAST_FREE_BYTES = 50_000_000
"""Room that a study starts with: checkpoints of small adapters and the records."""

_NO_ROOM_BYTES = 1_000_000
_STARTING = ("starting up", "shutting down", "recovery mode", "not yet accepting connections")
_BUSY = ("refused", "too many clients", "connection slots", "database is locked")
_DUPLICATE = ("42P07", "42710")
"""PostgreSQL's codes where another process has just made the table, or the type of its rows."""
_NO_RIGHT = "42501"
_DAMAGED = ("malformed", "not a database")
_FULL = ("disk is full", "disk full", "no space left", "disk i/o error", "could not extend file", "readonly database")


class StorageError(SpellingTransferError):
    """A study's storage is not there, cannot be written, or holds something else."""


def storage_url(storage: str | None, folder: Path) -> sa.URL:
    """Returns the URL of a study's storage.

    Args:
        storage: ``None`` for a file in the study's folder; else a URL that starts with ``sqlite:///`` or
            ``postgresql://``.
        folder: The study's folder.

    Raises:
        StorageError: It is not a URL, or of a database that is not supported.
    """
    if storage is None:
        return sa.URL.create("sqlite", database=str(folder / FILE_NAME))
    try:
        url = sa.make_url(storage)
    except ArgumentError as error:
        # The text itself is not shown: it may hold a password.
        raise StorageError(
            "study.storage: is not a URL; allowed are sqlite:///PATH and postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
        ) from error
    backend = url.get_backend_name()
    if backend == "sqlite":
        return url
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise StorageError(f"study.storage: {backend!r} is not supported; allowed are sqlite and postgresql.")


def place_aside(folder: Path, identity: str) -> Path:
    """Returns where the study of this identity waits while another has its folder."""
    return folder.with_name(f"{folder.name}.{hashlib.sha256(identity.encode()).hexdigest()[:8]}")


def recorded_name(folder: str) -> str:
    """Returns the name that the records of a folder are under; one that waits has a mark behind it."""
    return re.sub(r"\.[0-9a-f]{8}\+*$", "", folder)


def open_engine(url: sa.URL, *, patience_seconds: float = 5.0, read_only: bool = False) -> sa.Engine:
    """Connects to a storage and returns its engine.

    Args:
        url: The storage.
        patience_seconds: How long to wait for a server that refuses connections or has none left, or for a file that
            is locked; a server that is just starting is waited for a minute at least.
        read_only: Nothing will be written, so a file of another user will do.

    Raises:
        StorageError: It cannot be reached, opened or written.
    """
    shown = url.render_as_string(hide_password=True)
    try:
        if url.get_backend_name() == "sqlite":
            engine = _open_sqlite(url, read_only=read_only)
        else:
            engine = sa.create_engine(url, pool_pre_ping=True, connect_args=NETWORK)
        _wait_for(engine, patience_seconds)
    except (SQLAlchemyError, NoSuchModuleError, OSError) as error:
        reason = short_reason(error)
        remedy = (
            "Check that the database is running and that the user may write to it; leave the setting out to keep the "
            "study in a file."
        )
        if any(sign in reason for sign in _DAMAGED):
            remedy = "The file was cut short or altered: put a copy back, or remove it to begin the study again."
        elif url.get_backend_name() == "sqlite":
            remedy = "Check that you may write to the folder of this file and that no other program holds the file."
        raise StorageError(f"study.storage: {shown} cannot be opened: {reason}. {remedy}") from error
    return engine


def _wait_for(engine: sa.Engine, patience_seconds: float) -> None:
    def connect() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT 1"))

    def is_over(attempt: RetryCallState) -> bool:
        error = str(attempt.outcome.exception()).lower() if attempt.outcome else ""
        patience = 0.0
        if any(sign in error for sign in _STARTING):
            patience = max(60.0, patience_seconds)
        elif any(sign in error for sign in _BUSY):
            patience = patience_seconds
        return (attempt.seconds_since_start or 0.0) > patience

    Retrying(retry=retry_if_exception_type(OperationalError), stop=is_over, wait=wait_fixed(0.2), reraise=True)(connect)


def _open_sqlite(url: sa.URL, *, read_only: bool) -> sa.Engine:
    if url.database and url.database != ":memory:":
        folder = Path(url.database).parent
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}")
        if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            if not read_only:
                raise PermissionError(f"{folder} cannot be written to")
            # SQLite keeps a lock beside the file, which it cannot write here. Without a log nobody is writing.
            options = "mode=ro" if Path(f"{url.database}-wal").exists() else "mode=ro&immutable=1"
            address = f"{Path(url.database).resolve().as_uri()}?{options}"
            return sa.create_engine(url, creator=lambda: sqlite3.connect(address, uri=True, check_same_thread=False))
    engine = sa.create_engine(url, connect_args={"timeout": 60})

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        # Readers do not wait for the writer, and a killed process leaves nothing to repair.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # Takes the write lock at once: a read that turns into a write could not wait for another writer.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def in_transaction(
    engine: sa.Engine,
    work: Callable[[sa.Connection], Result],
    *,
    patience_seconds: float = PATIENCE_SECONDS,
    stop: threading.Event | None = None,
) -> Result:
    """Runs ``work`` in a transaction, and again while the database is away, until ``stop`` is set.

    ``work`` may have taken effect although the answer was lost, so it must come to the same when it runs twice.

    Raises:
        StorageError: The database did not come back, its disk is full, or it refuses what is asked.
    """

    def once() -> Result:
        with engine.begin() as connection:
            return work(connection)

    stop = stop or threading.Event()
    retrying = Retrying(
        retry=retry_if_exception(is_away),
        stop=stop_before_delay(patience_seconds) | stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        wait=wait_exponential(0.05, max=2.0),
        reraise=True,
    )
    try:
        return retrying(once)
    except IntegrityError:
        raise  # another process was faster; the caller knows what that means
    except DBAPIError as error:
        reason, shown = short_reason(error), engine.url.render_as_string(hide_password=True)
        if _is_full(error):
            raise StorageError(
                f"study.storage: {shown} cannot be written: {reason}. Make room and run the study again: it resumes "
                "where it stopped."
            ) from error
        if not is_away(error):
            remedy = ""
            if getattr(error.orig, "sqlstate", None) == _NO_RIGHT:
                remedy = " Check that the user may create tables and write to them."
            raise StorageError(
                f"study.storage: {shown} refuses the study's records: {reason}.{remedy} Once that is mended, run the "
                "study again: it resumes where it stopped."
            ) from error
        raise StorageError(f"study.storage: {shown} does not answer: {reason}.") from error


def _is_full(error: DBAPIError) -> bool:
    return any(sign in short_reason(error).lower() for sign in _FULL)


def is_away(error: BaseException | None) -> bool:
    """Whether a database may answer later what it does not answer now."""
    if not isinstance(error, DBAPIError) or isinstance(error, IntegrityError):
        return False
    if isinstance(error, ProgrammingError):  # another process made the tables at the same moment
        return getattr(error.orig, "sqlstate", None) in _DUPLICATE
    return not _is_full(error) and (isinstance(error, OperationalError) or error.connection_invalidated)


def check_room(folder: Path) -> None:
    """Checks that a study can begin to write.

    Raises:
        StorageError: The disk of its folder is full.
    """
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        raise StorageError(
            f"{folder}: {free / 1e6:.0f} MB are free on its disk; a study needs {_LEAST_FREE_BYTES / 1e6:.0f} at least "
            "for checkpoints and results. Make room, or give it another folder."
        )


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether an error came from a full disk; torch does not say so when it writes a checkpoint."""
    full = (errno.ENOSPC, errno.EDQUOT)
    if any(isinstance(cause, OSError) and cause.errno in full for cause in causes(error)):
        return True
    return shutil.disk_usage(folder).free < _NO_ROOM_BYTES


def now(connection: sa.Connection) -> float:
    """Returns the storage's own time in seconds since 1970, so that machines need not agree on theirs."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


def short_reason(error: BaseException) -> str:
    """Returns the database's own words, in one line."""
    return first_line(getattr(error, "orig", None) or error)
