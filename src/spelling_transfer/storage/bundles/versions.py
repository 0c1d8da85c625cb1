"""The versions of a store: reading them, listing them, removing old ones; and who is at work there meanwhile.

Any number may push at once, but nothing is removed meanwhile. A push and a prune each write a lock of their own before
they look for the other's. So at least one of two that begin together sees the other, whatever the clocks say.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

from spelling_transfer.storage.bundles.manifest import BundleManifest, parse_manifest
from spelling_transfer.storage.bundles.stores import BundleStore, StoreError
from spelling_transfer.storage.errors import BundleError

_ABANDONED_SECONDS = 7 * 24 * 3600
_STALE_SECONDS = 24 * 3600
_REFRESH_SECONDS = 3600


class StoreBusyError(BundleError):
    """Somebody else is at work in the store."""


@dataclass(frozen=True)
class Version:
    """A line of the list of versions.

    Attributes:
        number: The version.
        created_at: When it was pushed, by the clock of the machine that did.
        created_by: User and machine.
        n_files: Its files.
        size_bytes: Their bytes.
        new_bytes: Bytes of content that no older version in the list has.
        signed: Whether it is signed.
        policy_kept: Whether the run that made it kept the non-thinking policy; ``None`` where it says nothing of it.
        note: What the user said of it.
        parents: Where it comes from.
        manifest_sha256: Its hash.
    """

    number: int
    created_at: str
    created_by: str
    n_files: int
    size_bytes: int
    new_bytes: int
    signed: bool
    policy_kept: bool | None
    note: str
    parents: list[str]
    manifest_sha256: str


@dataclass(frozen=True)
class PruneResult:
    """What a prune removed, or would remove.

    Attributes:
        store: Where.
        kept: Versions that stay.
        removed: Versions that go.
        removed_files: Contents that no kept version refers to.
        removed_bytes: Their bytes.
        ended_uploads: Uploads that were interrupted long ago.
    """

    store: str
    kept: list[int]
    removed: list[int]
    removed_files: int
    removed_bytes: int
    ended_uploads: int


def read_version(store: BundleStore, number: int | None = None) -> BundleManifest:
    """Returns the manifest of a version, the latest by default.

    Raises:
        BundleError: There is none, or its manifest is damaged.
    """
    numbers = store.list_manifests()
    if not numbers:
        raise BundleError(f"{store.url}: holds no bundle. 'kedro bundle push' makes one.")
    if number is not None and number not in numbers:
        known = ", ".join(map(str, numbers[-10:]))
        raise BundleError(f"{store.url}: has no version {number}. The latest are {known}.")
    number = number or numbers[-1]
    manifest = _parse(store, number)
    if manifest.number != number:
        raise BundleError(f"{store.url}, version {number}: the manifest is that of version {manifest.number}.")
    return manifest


def latest_version(store: BundleStore) -> BundleManifest | None:
    """Returns the manifest of the latest version, if there is any.

    Raises:
        BundleError: It is damaged.
    """
    numbers = store.list_manifests()
    return _parse(store, numbers[-1]) if numbers else None


def list_versions(store: BundleStore) -> list[Version]:
    """Returns the versions of a bundle, the oldest first.

    Raises:
        BundleError: A manifest is damaged or the store refuses.
    """
    versions, seen = [], set[str]()
    for manifest in _read_all(store, store.list_manifests()):
        new = {sha256: size for sha256, size in manifest.hashes.items() if sha256 not in seen}
        seen |= set(new)
        versions.append(
            Version(
                number=manifest.number,
                created_at=manifest.created_at.isoformat(timespec="seconds"),
                created_by=manifest.created_by,
                n_files=len(manifest.files),
                size_bytes=manifest.size_bytes,
                new_bytes=sum(new.values()),
                signed=manifest.signature is not None,
                policy_kept=manifest.policy.kept if manifest.policy else None,
                note=manifest.note,
                parents=manifest.parents,
                manifest_sha256=manifest.manifest_sha256,
            )
        )
    return versions


def prune(store: BundleStore, keep: int, *, dry_run: bool = False, ignore_locks: bool = False) -> PruneResult:
    """Removes all but the latest versions, and the content that none of those refers to.

    Manifests go first, so that no version is ever listed whose content is gone; an interrupted prune leaves content
    that the next one removes.

    Args:
        store: The store.
        keep: How many versions stay, at least one.
        dry_run: Only say what would go.
        ignore_locks: Prune although a push seems to be under way.

    Raises:
        BundleError: ``keep`` is below one, a kept manifest is damaged, a push is under way, or the store refuses.
    """
    if keep < 1:
        raise BundleError(f"--keep: {keep} is below 1. The latest version always stays.")
    if dry_run or not store.list_manifests():  # nothing to remove, not even a lock to write
        return _prune(store, keep, dry_run=True)
    with locked(store, "prune", ignore_others=ignore_locks):
        return _prune(store, keep, dry_run=False)


def _prune(store: BundleStore, keep: int, *, dry_run: bool) -> PruneResult:
    numbers = store.list_manifests()
    kept, old = numbers[-keep:], numbers[:-keep]
    # If one of these cannot be read, what it refers to is not known, and nothing is removed.
    needed = {sha256 for manifest in _read_all(store, kept) for sha256 in manifest.hashes}
    content = store.list_content() if kept else {}
    gone = {sha256: stored.size_bytes for sha256, stored in content.items() if sha256 not in needed}
    ended = 0
    if not dry_run:
        for number in old:
            store.delete_manifest(number)
        store.delete_content(gone)
        ended = store.clean_up(_ABANDONED_SECONDS)
    return PruneResult(store.url, kept, old, len(gone), sum(gone.values()), ended)


def _read_all(store: BundleStore, numbers: list[int]) -> list[BundleManifest]:
    def read(number: int) -> BundleManifest:
        try:
            return _parse(store, number)
        except FileNotFoundError as error:
            raise StoreError(f"{store.url}: version {number} was removed meanwhile. Run again.") from error

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(read, numbers))


def _parse(store: BundleStore, number: int) -> BundleManifest:
    return parse_manifest(store.read_manifest(number), f"{store.url}, version {number}")


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
        ignore_others: Do it although somebody else seems to be at work.

    Raises:
        StoreBusyError: The other kind of work is under way, or was interrupted less than a day ago.
    """
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "began": _began(os.getpid())}
    name, data = f"{kind}-{uuid.uuid4().hex}", json.dumps(mine).encode()
    # A prune waits for everybody, a push for prunes alone.
    hindrances = ("push-", "prune-") if kind == "prune" else ("prune-",)
    store.put_lock(name, data)
    try:
        for other, stored in store.list_locks().items():
            if other == name or not other.startswith(hindrances):
                continue
            if stored.age_seconds > _STALE_SECONDS or ignore_others:
                continue
            holder = _read_lock(store, other)
            if holder and _is_dead(holder):
                store.delete_lock(other)  # of a process that was killed on this machine
                continue
            raise StoreBusyError(
                f"{store.url}: a {other.partition('-')[0]} is under way, or was interrupted, on "
                f"{holder.get('host', 'a machine')} ({stored.age_seconds / 60:.0f} minutes ago). Wait for it to end; "
                "if it was killed, its lock lapses after a day, and --ignore-locks does not wait."
            )
        yield Lock(store, name, data)
    finally:
        with suppress(Exception):  # a lock that cannot be removed lapses; the error under way is what counts
            store.delete_lock(name)


def _read_lock(store: BundleStore, name: str) -> dict[str, Any]:
    with suppress(ValueError):
        content = json.loads(store.read_lock(name))
        if isinstance(content, dict):
            return content
    return {}


def _is_dead(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return False
    # The system uses a process's number again; together with the time at which it began it is unique.
    began = _began(int(holder.get("pid", 0)))
    return began is None or began != holder.get("began")


def _began(pid: int) -> float | None:
    import psutil

    from spelling_transfer.study.machine import time_of_birth

    with suppress(psutil.Error):
        return time_of_birth(pid)
    return None
