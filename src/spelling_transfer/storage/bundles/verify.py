"""Comparing files with a manifest: of a folder or a URL, or the content of a version in a store."""

from __future__ import annotations

import hashlib
import json
import posixpath
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fsspec

from spelling_transfer.storage.access import check_transport
from spelling_transfer.storage.bundles.local_files import check_names, file_facts
from spelling_transfer.storage.bundles.manifest import BundleManifest, check_format, seal
from spelling_transfer.storage.bundles.stores import BundleStore
from spelling_transfer.storage.bundles.stores.base import Progress, no_progress
from spelling_transfer.storage.bundles.versions import locked, read_version
from spelling_transfer.storage.errors import BundleError, explain_remote

Kind = Literal["missing", "size", "sha256", "rows", "schema", "unreadable", "manifest"]


@dataclass(frozen=True)
class Problem:
    """One thing that is not as the manifest says.

    Attributes:
        file: Path of the file, relative to the bundle's root; the manifest's own name for the manifest.
        kind: What is wrong.
        expected: What the manifest says.
        found: What is there.
    """

    file: str
    kind: Kind
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} is {self.found}, the manifest says {self.expected}"


def read_manifest(url: str) -> dict[str, Any]:
    """Reads the manifest of files that lie where it says: that of a bundle, or the one that local_prep writes.

    Raises:
        BundleError: There is none, or it is not a bundle's manifest.
    """
    filesystem, path = fsspec.core.url_to_fs(url)
    try:
        check_transport(filesystem)
        manifest: Any = json.loads(filesystem.cat_file(path))
    except FileNotFoundError as error:
        raise BundleError(
            f"{url}: there is no manifest. Make it with 'kedro run --pipelines=local_prep', or name another."
        ) from error
    except Exception as error:
        message = explain_remote(error, url, "read") or f"{url}: not a readable manifest ({error})."
        raise BundleError(message) from error
    files = manifest.get("files") if isinstance(manifest, dict) and isinstance(manifest.get("root"), str) else None
    if not isinstance(files, dict) or not all(isinstance(facts, dict) for facts in files.values()):
        raise BundleError(f"{url}: not a bundle's manifest; it needs 'root' and 'files'.")
    check_format(manifest, url)
    check_names(files, url)
    return dict(manifest)


def verify_bundle(url: str) -> list[Problem]:
    """Returns what differs between the files of a bundle and its manifest, whose URL is given.

    Args:
        url: The manifest, a path or a URL.

    Raises:
        BundleError: There is no manifest to compare with.
    """
    manifest = read_manifest(url)
    filesystem, path = fsspec.core.url_to_fs(url)
    problems = []
    sealed = seal(manifest)["manifest_sha256"]
    if manifest.get("manifest_sha256") != sealed:
        expected = str(manifest.get("manifest_sha256"))
        problems.append(Problem(posixpath.basename(path), "manifest", expected, sealed))
    root = posixpath.normpath(posixpath.join(posixpath.dirname(path), manifest["root"]))
    for name, expected_facts in sorted(manifest["files"].items()):
        problems += _compare(name, posixpath.join(root, name), expected_facts, filesystem)
    return problems


def _compare(name: str, path: str, expected: Mapping[str, Any], filesystem: fsspec.AbstractFileSystem) -> list[Problem]:
    if not filesystem.exists(path):
        return [Problem(name, "missing", f"{expected.get('size_bytes')} bytes", "no file")]
    try:
        found = file_facts(path, filesystem)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        size = filesystem.size(path)
        return [Problem(name, "unreadable", f"{expected.get('size_bytes')} bytes", f"{size} bytes, {error}")]
    pairs: dict[Kind, str] = {"size": "size_bytes", "sha256": "sha256", "rows": "rows", "schema": "schema"}
    return [
        Problem(name, kind, str(expected[key]), str(found.get(key)))
        for kind, key in pairs.items()
        if key in expected and expected[key] != found.get(key)
    ]


def verify_store(
    store: BundleStore,
    number: int | None = None,
    *,
    drop_damaged: bool = False,
    progress: Progress = no_progress,
) -> tuple[BundleManifest, list[Problem]]:
    """Reads all content of a version; returns its manifest and what is not as that says.

    Args:
        store: The store.
        number: The version; the latest by default.
        drop_damaged: Remove content whose hash is wrong, so that the next push sends it again.
        progress: Called with the number of bytes to read; returns what counts them.

    Raises:
        BundleError: There is no such version, its manifest is damaged, or the store refuses.
    """
    manifest = read_version(store, number)
    there = store.list_content()
    count = progress(sum(manifest.hashes.values()))

    def hash_of(sha256: str) -> str | None:
        if sha256 not in there:
            return None
        digest = hashlib.sha256()

        def receive(block: bytes) -> None:
            digest.update(block)
            count(len(block))

        with tempfile.TemporaryDirectory(prefix="bundle-verify-") as folder:
            store.get_content(sha256, Path(folder) / "content", receive)
        return digest.hexdigest()

    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(manifest.hashes, pool.map(hash_of, manifest.hashes), strict=True))
    problems = []
    for name, facts in sorted(manifest.files.items()):
        if found[facts.sha256] is None:
            problems.append(Problem(name, "missing", f"{facts.size_bytes} bytes", "no content"))
        elif found[facts.sha256] != facts.sha256:
            problems.append(Problem(name, "sha256", facts.sha256, str(found[facts.sha256])))
        elif there[facts.sha256].size_bytes != facts.size_bytes:
            size = there[facts.sha256].size_bytes
            problems.append(Problem(name, "size", f"{facts.size_bytes} bytes", f"{size} bytes"))
    if drop_damaged and (damaged := [sha for sha, actual in found.items() if actual not in {None, sha}]):
        with locked(store, "prune"):
            store.delete_content(damaged)
    return manifest, problems
