"""Push: sends what a store lacks of a folder, and then, as the last act, the manifest of a new version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock as ThreadLock
from typing import TYPE_CHECKING, Any

from spelling_transfer.files import write_bytes
from spelling_transfer.storage.bundles.local_files import (
    RECORD,
    FactsCache,
    LocalFile,
    everything_is_needed,
    read_facts,
    scan_folder,
)
from spelling_transfer.storage.bundles.manifest import (
    NOTE_LENGTH,
    BundleManifest,
    new_manifest,
    public_key_of,
    read_private_key,
    read_record,
    sign,
)
from spelling_transfer.storage.bundles.stores import BundleStore
from spelling_transfer.storage.bundles.stores.base import PART_BYTES, Counter, Progress, no_progress
from spelling_transfer.storage.bundles.versions import Lock, latest_version, locked
from spelling_transfer.storage.errors import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_RACES = 100


@dataclass(frozen=True)
class PushResult:
    """What a push did.

    Attributes:
        store: Where to.
        number: The version that the folder now is.
        manifest_sha256: Hash of its manifest.
        is_new: False if the latest version was the same already.
        n_files: Files in the version.
        size_bytes: Their bytes.
        sent_files: Contents that were sent.
        sent_bytes: Their bytes.
        left_out: What lies in the folder and stayed there, each with the reason; see `scan_folder`.
    """

    store: str
    number: int
    manifest_sha256: str
    is_new: bool
    n_files: int
    size_bytes: int
    sent_files: int = 0
    sent_bytes: int = 0
    left_out: Sequence[str] = ()


def push_bundle(
    folder: Path,
    store: BundleStore,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    is_needed: Callable[[Path], bool] = everything_is_needed,
    note: str = "",
    sign_key: Path | None = None,
    rehash: bool = False,
    jobs: int = 8,
    progress: Progress = no_progress,
    ignore_locks: bool = False,
) -> PushResult:
    """Makes a folder the next version of a bundle; sends only content that the store does not have.

    Args:
        folder: The folder.
        store: Where to.
        include: Patterns of files to take; none takes all.
        exclude: Patterns of files to leave out.
        is_needed: Whether the version would be incomplete without a path that cannot travel.
        note: What to say of this version.
        sign_key: A private key to sign it with.
        rehash: Read every file again, those unchanged since the last push included.
        jobs: How many files at once.
        progress: Called with the number of bytes to go through; returns what counts them.
        ignore_locks: Push although a prune seems to be under way.

    Raises:
        BundleError: A file cannot be read, has a bad name or changed meanwhile; the note is too long; the
            store refuses. No version is made.
    """
    if len(note) > NOTE_LENGTH:
        raise BundleError(f"--note: has {len(note)} characters; at most {NOTE_LENGTH} are allowed.")
    key = None if sign_key is None else read_private_key(sign_key)  # before anything is sent
    files, left_out = scan_folder(folder, include, exclude, is_needed)
    if not files:
        raise BundleError(f"{folder}: there are no files to push.")
    if "://" not in store.url and Path(store.url).resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{store.url}: is inside the folder that is pushed, {folder}: it would contain itself.")
    cache = FactsCache(folder)
    same = _unchanged(folder, files, cache, store, key)
    if same is not None and not rehash:
        _keep_record(folder, same)
        return PushResult(
            store.url, same.number, same.manifest_sha256, False, len(files), same.size_bytes, left_out=left_out
        )
    count = progress(sum(file.size_bytes for file in files))
    with locked(store, "push", ignore_others=ignore_locks) as lock:
        latest = latest_version(store)
        sender = _Sender(store, cache, lock, count, rehash=rehash)
        facts = sender.send(files, jobs)
        for file in files:  # the folder as a whole must have stood still
            file.check_unchanged()
        manifest = new_manifest(facts, folder, note)
        manifest, is_new = _publish(store, manifest, latest, folder, key)
    _keep_record(folder, manifest)
    return PushResult(
        store.url, manifest.number, manifest.manifest_sha256, is_new, len(files), manifest.size_bytes,
        sender.sent_files, sender.sent_bytes, left_out,
    )  # fmt: skip


def _unchanged(
    folder: Path, files: Sequence[LocalFile], cache: FactsCache, store: BundleStore, key: Ed25519PrivateKey | None
) -> BundleManifest | None:
    """Returns the latest version if the folder is it, no file had to be read to know, and all its content is there.

    Nothing is written, so no lock is needed: a prune keeps the latest version and what that refers to.
    """
    latest = latest_version(store)  # before anything is read: it may be that nothing can be sent there
    facts = {file.name: known for file in files if (known := cache.get(file)) is not None}
    if latest is None or len(facts) < len(files):
        return None
    if not _says_the_same(new_manifest(facts, folder, ""), latest, key):
        return None
    there = store.list_content()
    if any(sha256 not in there or there[sha256].size_bytes != size for sha256, size in latest.hashes.items()):
        return None
    return latest


def _says_the_same(manifest: BundleManifest, latest: BundleManifest, key: Ed25519PrivateKey | None) -> bool:
    signer = latest.signature.public_key if latest.signature else None
    return manifest.says_the_same(latest) and (key is None or signer == public_key_of(key))


def _keep_record(folder: Path, manifest: BundleManifest) -> None:
    record, data = folder / RECORD, manifest.to_bytes()
    with suppress(OSError):  # a folder may be read-only
        if not record.is_file() or record.read_bytes() != data:
            write_bytes(record, data)


def _publish(
    store: BundleStore,
    manifest: BundleManifest,
    latest: BundleManifest | None,
    folder: Path,
    key: Ed25519PrivateKey | None,
) -> tuple[BundleManifest, bool]:
    for _ in range(_RACES):
        if latest is not None and _says_the_same(manifest, latest, key):
            return latest, False
        number = latest.number + 1 if latest else 1
        # What the folder was before it became what it is now is a parent as well.
        parents = sorted({each.manifest_sha256 for each in (latest, read_record(folder / RECORD)) if each})
        manifest = manifest.model_copy(update={"number": number, "parents": parents}).sealed()
        if key is not None:
            manifest = sign(manifest, key)
        if store.create_manifest(number, manifest.to_bytes()):
            return manifest, True
        # Another push took the number. Its content and ours are both there; ours becomes the version after it.
        latest = latest_version(store)
    raise BundleError(f"{store.url}: others push all the time; no version could be made in {_RACES} attempts.")


class _Sender:
    def __init__(self, store: BundleStore, cache: FactsCache, lock: Lock, count: Counter, *, rehash: bool) -> None:
        self._store, self._cache, self._lock, self._count, self._rehash = store, cache, lock, count, rehash
        self._there = {sha256: stored.size_bytes for sha256, stored in store.list_content().items()}
        self._guard = ThreadLock()
        self.sent_files = self.sent_bytes = 0

    def send(self, files: Sequence[LocalFile], jobs: int) -> dict[str, dict[str, Any]]:
        """Sends what is lacking; returns the facts of every file."""
        facts: dict[str, dict[str, Any]] = {}
        unknown = []
        for file in files:
            known = None if self._rehash else self._cache.get(file)
            if known is not None and self._there.get(known["sha256"]) == file.size_bytes:
                facts[file.name] = known
                self._count(file.size_bytes)
            else:
                unknown.append(file)
        small = [file for file in unknown if file.size_bytes <= PART_BYTES]
        try:
            with ThreadPoolExecutor(jobs) as pool:  # after an error those that wait are not begun
                facts.update(zip((file.name for file in small), pool.map(self._send, small), strict=True))
            # A large one uses all connections by itself.
            for file in unknown:
                if file.size_bytes > PART_BYTES:
                    facts[file.name] = self._send(file)
        finally:
            self._cache.save()
        return facts

    def _send(self, file: LocalFile) -> dict[str, Any]:
        try:  # a small one is read once, for its hash and to be sent
            data = file.path.read_bytes() if file.size_bytes <= PART_BYTES else None
        except OSError as error:
            file.check_unchanged()
            raise BundleError(f"{file.path}: cannot be read: {error.strerror}.") from error
        facts = read_facts(file, data)
        sha256, size_bytes = facts["sha256"], facts["size_bytes"]
        if self._there.get(sha256) == size_bytes:
            self._done(size_bytes)
        else:
            if data is not None:
                self._store.put_bytes(sha256, data)
                self._done(size_bytes)
            else:
                self._store.put_file(sha256, file.path, self._done)
                file.check_unchanged()
            with self._guard:
                self._there[sha256] = size_bytes
                self.sent_files += 1
                self.sent_bytes += size_bytes
        with self._guard:
            self._cache.put(file, facts)
        return facts

    def _done(self, n_bytes: int) -> None:
        self._count(n_bytes)
        self._lock.refresh()
