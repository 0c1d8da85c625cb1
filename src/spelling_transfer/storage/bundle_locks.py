"""Who is at work in a store: any number may push at once, but nobody removes anything meanwhile.

Both sides first write their own lock and then look for the other's. So of a push and a prune that begin together at
least one sees the other, whatever the order and whatever the clocks.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from spelling_transfer.storage.bundle import BundleError
from spelling_transfer.storage.stores import BundleStore

STALE_SECONDS = 24 * 3600
_REFRESH_SECONDS = 3600
_OTHER = {"push": "prune", "prune": "push"}


class StoreBusyError(BundleError):
    """Somebody else is at work in the store."""


class Lock:
    """A lock that is held."""

    def __init__(self, store: BundleStore, name: str, data: bytes) -> None:
        self._store, self._name, self._data = store, name, data
        self._written = time.monotonic()

    def refresh(self) -> None:
        """Writes the lock again if it is getting old; to be called now and then."""
        if time.monotonic() - self._written > _REFRESH_SECONDS:
            self._written = time.monotonic()
            self._store.put_lock(self._name, self._data)


@contextmanager
def locked(store: BundleStore, kind: Literal["push", "prune"], *, ignore_others: bool = False) -> Iterator[Lock]:
    """Holds a lock while the block runs.

    Args:
        store: The store.
        kind: What is going to be done.
        ignore_others: Go on although somebody else seems to be at work.

    Raises:
        StoreBusyError: The other kind of work is under way, or was cut off less than a day ago.
    """
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "began": _began(os.getpid())}
    name, data = f"{kind}-{uuid.uuid4().hex}", json.dumps(mine).encode()
    store.put_lock(name, data)
    try:
        for other, stored in store.list_locks().items():
            if not other.startswith(f"{_OTHER[kind]}-") and not (kind == "prune" and other.startswith("prune-")):
                continue
            if other == name or stored.age_seconds > STALE_SECONDS or ignore_others:
                continue
            holder = _read(store, other)
            if holder and _is_dead(holder):
                store.delete_lock(other)  # of a process that was killed on this machine
                continue
            raise StoreBusyError(
                f"{store.url}: a {other.partition('-')[0]} is under way, or was cut off, on "
                f"{holder.get('host', 'a machine')} ({stored.age_seconds / 60:.0f} minutes ago). Wait for it to end; "
                "if it was killed, its lock lapses after a day, and --ignore-locks goes on without waiting."
            )
        yield Lock(store, name, data)
    finally:
        with suppress(Exception):  # a lock that cannot be removed lapses; the error under way is what counts
            store.delete_lock(name)


def _read(store: BundleStore, name: str) -> dict[str, Any]:
    with suppress(ValueError):
        content = json.loads(store.read_lock(name))
        if isinstance(content, dict):
            return content
    return {}


def _is_dead(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return False
    # A number is given again; with the time at which the process began it is unique.
    began = _began(int(holder.get("pid", 0)))
    return began is None or began != holder.get("began")


def _began(pid: int) -> float | None:
    import psutil

    with suppress(psutil.Error):
        return float(psutil.Process(pid).create_time())
    return None
