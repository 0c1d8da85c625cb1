"""Tells observers, and Optuna's own tables, where a study stands; from a thread, so that no trial waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import sqlalchemy as sa

from spelling_transfer.study.history import History
from spelling_transfer.study.monitor import follow_records
from spelling_transfer.study.observer import StudyObserver
from spelling_transfer.study.records import Records
from spelling_transfer.study.snapshot import Snapshots
from spelling_transfer.study.storage import StorageError

_LOGGER = logging.getLogger(__name__)
_EVERY_SECONDS = 1.0


class Watch:
    """Calls the observers about every second inside the block, and once at its end.

    Args:
        snapshots: Where the study stands.
        observers: Who is told.
        dashboard: Storage in which Optuna's tables follow, for its dashboard; ``None`` for none.
    """

    def __init__(self, snapshots: Snapshots, observers: Sequence[StudyObserver], dashboard: sa.URL | None) -> None:
        self._snapshots = snapshots
        self._observers = observers
        self._dashboard = DashboardMirror(snapshots.records, dashboard) if dashboard is not None else None
        self._warned: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._look()
        for observer in self._observers:
            try:
                observer.close()
            except Exception as error:  # noqa: BLE001  (a watcher never stops a study)
                self._warn(observer, error)

    def _run(self) -> None:
        while not self._end.wait(_EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            snapshot = self._snapshots.take()
        except StorageError:
            return  # the database is away for a while; the workers wait for it
        for observer in self._observers:
            try:
                observer.update(snapshot)
            except Exception as error:  # noqa: BLE001  (a watcher never stops a study)
                self._warn(observer, error)
        if self._dashboard is not None:
            from optuna.exceptions import StorageInternalError

            try:
                self._dashboard.follow()
            except StorageInternalError:
                return
            except Exception as error:  # noqa: BLE001  (the records are the truth; this is a view of them)
                self._warn(self._dashboard, error)

    def _warn(self, watcher: object, error: Exception) -> None:
        name = type(watcher).__name__
        if name not in self._warned:
            self._warned.add(name)
            _LOGGER.warning("%s: %s: %s", name, type(error).__name__, str(error).splitlines()[0] if str(error) else "")


class DashboardMirror:
    """Optuna's own tables beside the records, as ``optuna-dashboard`` reads them.

    Args:
        records: The records it follows.
        url: Their storage.
    """

    def __init__(self, records: Records, url: sa.URL) -> None:
        self._records = records
        self._url = url.render_as_string(hide_password=False)
        self._history: History | None = None

    def follow(self) -> None:
        """Adds what the records hold and the tables lack."""
        import optuna

        if self._history is None:
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            storage = optuna.storages.RDBStorage(self._url)
            self._history = History(
                lambda: optuna.create_study(
                    study_name=self._records.study, storage=storage, direction="maximize", load_if_exists=True
                )
            )
        follow_records(self._history, self._records)
