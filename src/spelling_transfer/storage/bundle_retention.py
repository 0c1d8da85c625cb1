"""What a store holds: its versions, whether their content is sound, and the removal of old versions."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spelling_transfer.storage.bundle import BundleError, Problem
from spelling_transfer.storage.bundle_locks import locked
from spelling_transfer.storage.bundle_manifest import BundleManifest, parse_manifest
from spelling_transfer.storage.bundle_pull import read_version
from spelling_transfer.storage.stores import BundleStore, StoreError

_ABANDONED_SECONDS = 7 * 24 * 3600


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
        ended_uploads: Uploads that were cut off long ago and never seen.
    """

    store: str
    kept: list[int]
    removed: list[int]
    removed_files: int
    removed_bytes: int
    ended_uploads: int

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


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
                manifest.number,
                manifest.created_at.isoformat(timespec="seconds"),
                manifest.created_by,
                len(manifest.files),
                manifest.size_bytes,
                sum(new.values()),
                manifest.signature is not None,
                manifest.policy.kept if manifest.policy else None,
                manifest.note,
                manifest.parents,
                manifest.manifest_sha256,
            )
        )
    return versions


def prune(store: BundleStore, keep: int, *, dry_run: bool = False, ignore_locks: bool = False) -> PruneResult:
    """Removes all but the latest versions, and the content that none of those refers to.

    Manifests go first, so that no version is ever listed whose content is gone; a prune that is cut off leaves content
    that the next one removes.

    Args:
        store: The store.
        keep: How many versions stay, at least one.
        dry_run: Only say what would go.
        ignore_locks: Go on although a push seems to be under way.

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


def verify_store(
    store: BundleStore,
    number: int | None = None,
    *,
    drop_damaged: bool = False,
    jobs: int = 8,
    progress: Callable[[int], Callable[[int], None]] | None = None,
) -> tuple[BundleManifest, list[Problem]]:
    """Reads all content of a version and compares it with the manifest.

    Args:
        store: The store.
        number: The version; the latest by default.
        drop_damaged: Remove content whose hash is wrong, so that the next push sends it again.
        jobs: How many files at once.
        progress: Called with the number of bytes to read; returns what counts them.

    Returns:
        The manifest and what is not as it says.

    Raises:
        BundleError: There is no such version, its manifest is damaged, or the store refuses.
    """
    manifest = read_version(store, number)
    there = store.list_content()
    count = progress(sum(manifest.hashes.values())) if progress else lambda _: None

    def look(sha256: str) -> str | None:
        if sha256 not in there:
            return None
        digest = hashlib.sha256()

        def sink(block: bytes) -> None:
            digest.update(block)
            count(len(block))

        with tempfile.TemporaryDirectory(prefix="bundle-verify-") as folder:
            store.get_content(sha256, Path(folder) / "content", sink)
        return digest.hexdigest()

    with ThreadPoolExecutor(jobs) as pool:
        found = dict(zip(manifest.hashes, pool.map(look, manifest.hashes), strict=True))
    problems = []
    for name, facts in sorted(manifest.files.items()):
        if found[facts.sha256] is None:
            problems.append(Problem(name, "missing", f"{facts.size_bytes} bytes", "no content"))
        elif found[facts.sha256] != facts.sha256:
            problems.append(Problem(name, "sha256", facts.sha256, str(found[facts.sha256])))
    if drop_damaged and (damaged := [sha for sha, actual in found.items() if actual not in {None, sha}]):
        with locked(store, "prune"):
            store.delete_content(damaged)
    return manifest, problems


def _read_all(store: BundleStore, numbers: list[int]) -> list[BundleManifest]:
    def read(number: int) -> BundleManifest:
        try:
            return parse_manifest(store.read_manifest(number), f"{store.url}, version {number}")
        except FileNotFoundError as error:
            raise StoreError(f"{store.url}: version {number} was removed meanwhile. Run again.") from error

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(read, numbers))
