"""Pull: brings a folder to a version of a bundle. Every file is checked before it can be seen under its name."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spelling_transfer.files import sha256_of, whole_file, write_bytes
from spelling_transfer.storage.bundles.local_files import (
    BLOCK_BYTES,
    RECORD,
    STAGING,
    FactsCache,
    LocalFile,
    find_file,
    may_hold_credentials,
    place_below,
    read_facts,
)
from spelling_transfer.storage.bundles.manifest import BundleManifest, check_signature, read_record
from spelling_transfer.storage.bundles.stores import BundleStore
from spelling_transfer.storage.bundles.stores.base import Counter, Progress, no_progress
from spelling_transfer.storage.bundles.versions import read_version
from spelling_transfer.storage.errors import BundleError, cannot_write

_BEFORE = "before.json"


@dataclass(frozen=True)
class PullResult:
    """What a pull did.

    Attributes:
        store: Where from.
        folder: Where to.
        number: The version.
        manifest_sha256: Hash of its manifest.
        n_files: Files in it.
        size_bytes: Their bytes.
        received_files: Contents that were fetched.
        received_bytes: Bytes that were fetched.
        removed_files: Files of the version before that this one no longer has.
    """

    store: str
    folder: str
    number: int
    manifest_sha256: str
    n_files: int
    size_bytes: int
    received_files: int
    received_bytes: int
    removed_files: int


def pull_bundle(
    store: BundleStore,
    folder: Path,
    *,
    number: int | None = None,
    overwrite: bool = False,
    public_key: Path | None = None,
    jobs: int = 8,
    progress: Progress = no_progress,
) -> PullResult:
    """Makes a folder hold a version of a bundle.

    What is there already is not fetched again, nor what an interrupted pull has fetched already. Only when all
    content is there and checked are the files put into place; meanwhile the folder has no record of a version, so it is
    never taken for whole. Files that the bundle does not know are left alone.

    Args:
        store: Where from.
        folder: Where to; made if it is not there.
        number: The version; the latest by default.
        overwrite: Replace files that were changed here since they were pulled or pushed.
        public_key: The version must be signed with the private key to this one.
        jobs: How many files at once.
        progress: Called with the number of bytes to fetch; returns what counts them.

    Raises:
        BundleError: The version is damaged, not signed as asked for, or would destroy changes, also those made while
            it was fetched; the store refuses.
    """
    manifest = read_version(store, number)
    if public_key is not None:
        check_signature(manifest, public_key, store.url)
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        targets = {name: place_below(folder, name, store.url) for name in manifest.files}
        before = _record(folder)
        found = _find_what_is_here(folder, set(manifest.files) | set(before.files if before else ()))
        here = _hash_what_is_here(folder, found)
        if not overwrite:
            _refuse_to_destroy(folder, here, before, manifest)
        wanted = {name for name, facts in manifest.files.items() if here.get(name) != facts.sha256}
        sizes = {manifest.files[name].sha256: manifest.files[name].size_bytes for name in wanted}
        received = _fetch(store, folder / STAGING, sizes, jobs, progress(sum(sizes.values())))
        gone = _gone(folder, manifest, before, store)
        if not overwrite:
            _refuse_what_changed_meanwhile(folder, found, {*wanted, *gone}, manifest.number)
        _put_in_place(folder, manifest, wanted, gone, targets)
        _remember(folder, manifest, {name: file for name, file in found.items() if name not in wanted})
    return PullResult(
        store.url, str(folder), manifest.number, manifest.manifest_sha256, len(manifest.files), manifest.size_bytes,
        len(sizes), received, len(gone),
    )  # fmt: skip


def _record(folder: Path) -> BundleManifest | None:
    # While files are put into place, the record of the version before is kept among what was fetched.
    return read_record(folder / RECORD) or read_record(folder / STAGING / _BEFORE)


def _find_what_is_here(folder: Path, names: set[str]) -> dict[str, LocalFile]:
    return {name: file for name in names if (file := find_file(folder, name)) is not None}


def _hash_what_is_here(folder: Path, found: dict[str, LocalFile]) -> dict[str, str]:
    cache = FactsCache(folder)
    return {name: str((cache.get(file) or read_facts(file, tables=False))["sha256"]) for name, file in found.items()}


def _refuse_to_destroy(
    folder: Path, here: dict[str, str], before: BundleManifest | None, manifest: BundleManifest
) -> None:
    known = {name: facts.sha256 for name, facts in before.files.items()} if before else {}
    new = {name: facts.sha256 for name, facts in manifest.files.items()}
    changed = sorted(name for name, sha256 in here.items() if sha256 not in {known.get(name), new.get(name)})
    _refuse(folder, changed, f", and version {manifest.number} has something else.")


def _refuse_what_changed_meanwhile(folder: Path, found: dict[str, LocalFile], names: set[str], number: int) -> None:
    # What was removed meanwhile, nobody can lose.
    now = _find_what_is_here(folder, names)
    changed = sorted(name for name, file in now.items() if file != found.get(name))
    _refuse(folder, changed, f" while version {number} was fetched. No file was replaced.")


def _refuse(folder: Path, changed: list[str], why: str) -> None:
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise BundleError(
            f"{folder}: {', '.join(changed[:3])}{more}: changed here{why} Push the folder first, or give --overwrite "
            "to lose the changes."
        )


def _fetch(store: BundleStore, staging: Path, sizes: dict[str, int], jobs: int, count: Counter) -> int:
    if sizes:
        staging.mkdir(exist_ok=True)
        for old in staging.iterdir():  # of a pull of another version
            if old.is_dir():
                shutil.rmtree(old)
            elif old.name.removesuffix(".partial") not in sizes and old.name != _BEFORE:
                old.unlink()

    def fetch(sha256: str) -> int:
        return fetch_content(store, sha256, staging / sha256, sizes[sha256], count)

    with ThreadPoolExecutor(jobs) as pool:  # after an error those that wait are not begun
        return sum(pool.map(fetch, sizes))


def fetch_content(store: BundleStore, sha256: str, target: Path, size_bytes: int, count: Counter) -> int:
    """Fetches content to ``target``, which exists only if its hash is right; resumes an interrupted attempt.

    Returns the bytes that were fetched now.

    Raises:
        BundleError: What the store holds is damaged.
    """
    if target.exists():  # fetched and checked by an earlier attempt, but a disk is a disk
        if target.stat().st_size == size_bytes and sha256_of(target) == sha256:
            count(size_bytes)
            return 0
        target.unlink()
    partial = target.with_name(f"{target.name}.partial")
    received = 0
    for _ in range(2):
        digest = hashlib.sha256()
        have = _resume(partial, size_bytes, digest)
        count(have)
        left = [size_bytes - have]

        def receive(block: bytes, digest: Any = digest, left: list[int] = left) -> None:
            left[0] -= len(block)
            if left[0] < 0:  # what is longer than it may be must not fill the disk
                raise _damaged(store, sha256)
            digest.update(block)
            count(len(block))

        store.get_content(sha256, partial, receive)
        received += partial.stat().st_size - have
        if left[0] == 0 and digest.hexdigest() == sha256:
            partial.replace(target)
            return received
        partial.unlink()
        count(-size_bytes)
        if have == 0:
            break
        # The part from an earlier attempt may have been the damaged one.
    raise _damaged(store, sha256)


def _damaged(store: BundleStore, sha256: str) -> BundleError:
    return BundleError(
        f"{store.url}: content {sha256[:12]} is damaged there. 'kedro bundle verify {store.url} --drop-damaged' "
        "removes what is damaged; then push again from a folder that has it."
    )


def _resume(partial: Path, size_bytes: int, digest: Any) -> int:
    """Hashes what an earlier attempt left, and returns how much that is."""
    if not partial.exists():
        return 0
    if partial.stat().st_size > size_bytes:
        partial.unlink()
        return 0
    with partial.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
        return stream.tell()


def _gone(folder: Path, manifest: BundleManifest, before: BundleManifest | None, store: BundleStore) -> list[str]:
    gone = sorted(set(before.files) - set(manifest.files)) if before else []
    if before is None or not gone or not _is_of(store, before, manifest):
        return []
    return [name for name in gone if not may_hold_credentials(folder, name)]  # no version has them any more


def _is_of(store: BundleStore, before: BundleManifest, manifest: BundleManifest) -> bool:
    """Whether a version is one of a store's, or seems to have been; the files of another bundle's are left alone."""
    numbers = store.list_manifests()
    if numbers and before.number < numbers[0]:  # pruned since, if it is of this store
        return not before.files.keys().isdisjoint(manifest.files)
    return before.number in numbers and before.manifest_sha256.encode() in store.read_manifest(before.number)


def _put_in_place(
    folder: Path, manifest: BundleManifest, wanted: set[str], gone: list[str], targets: dict[str, Path]
) -> None:
    record, staging = folder / RECORD, folder / STAGING
    old = {name: place_below(folder, name, str(folder)) for name in gone}
    twins = {name.casefold(): target for name, target in targets.items()}
    if wanted or gone:
        os.sync()  # once for all files: a power cut must not leave a name without its content
        staging.mkdir(exist_ok=True)
        if record.exists():
            record.replace(staging / _BEFORE)
    for name in gone:  # first, as a file may have become a folder, or a folder a file
        twin = twins.get(name.casefold())
        if twin is not None and old[name].exists() and old[name].samefile(twin):
            continue  # renamed in case alone, and this disk knows no difference
        if old[name].is_symlink() or find_file(folder, name):  # and not what an attempt before put there instead
            old[name].unlink()
        for parent in list(Path(name).parents)[:-1]:
            with suppress(OSError):  # not empty
                (folder / parent).rmdir()
    users: dict[str, list[str]] = {}
    for name in sorted(wanted):
        users.setdefault(manifest.files[name].sha256, []).append(name)
    for sha256, names in users.items():
        for name in names:
            targets[name].parent.mkdir(parents=True, exist_ok=True)
            target = place_below(folder, name, str(folder))
            if name == names[-1]:
                (staging / sha256).replace(target)
            else:
                with whole_file(target) as partial:
                    shutil.copyfile(staging / sha256, partial)
    write_bytes(record, manifest.to_bytes())
    shutil.rmtree(staging, ignore_errors=True)


def _remember(folder: Path, manifest: BundleManifest, left: dict[str, LocalFile]) -> None:
    cache = FactsCache(folder)
    for name, facts in manifest.files.items():
        # What was left in place may have changed since it was hashed.
        if (file := find_file(folder, name)) is not None and file == left.get(name, file):
            cache.put(file, facts.model_dump(by_alias=True, exclude_none=True))
    cache.save()


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except BundleError:
        raise
    except OSError as error:
        raise BundleError(cannot_write(str(folder), error)) from error
