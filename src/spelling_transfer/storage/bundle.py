"""Bundles: files that belong together, with a manifest by which anyone can tell that none was altered.

A manifest is JSON. Its ``files`` maps each file's path, relative to ``root``, to its sha256, its size in bytes and,
for tables, its rows and columns; ``root`` is relative to the manifest's own folder; ``manifest_sha256`` is the hash of
everything else in it.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import fsspec

from spelling_transfer.errors import SpellingTransferError

FORMAT = 1
"""Of manifests. One without a number has this one."""
_BLOCK_BYTES = 1 << 20


class BundleError(SpellingTransferError):
    """A bundle's manifest is missing or is none."""


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
    kind: Literal["missing", "size", "sha256", "rows", "schema", "unreadable", "manifest"]
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} is {self.found}, the manifest says {self.expected}"


def file_facts(path: str, filesystem: fsspec.AbstractFileSystem | None = None) -> dict[str, Any]:
    """Returns what a manifest says of a file: ``sha256``, ``size_bytes``, and of a Parquet file ``rows``, ``schema``.

    Args:
        path: The file.
        filesystem: Where it is; the local disk by default.

    Raises:
        OSError: The file cannot be read.
        pyarrow.ArrowInvalid: A Parquet file's footer is damaged.
    """
    filesystem = filesystem or fsspec.filesystem("file")
    digest, size = hashlib.sha256(), 0
    with filesystem.open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    facts: dict[str, Any] = {"sha256": digest.hexdigest(), "size_bytes": size}
    if path.endswith(".parquet"):
        facts |= table_facts(path, filesystem)
    return facts


def table_facts(path: str, filesystem: fsspec.AbstractFileSystem | None = None) -> dict[str, Any]:
    """Returns ``rows`` and ``schema`` of a Parquet file from its footer.

    Raises:
        pyarrow.ArrowInvalid: The footer is damaged.
    """
    import pyarrow.parquet as pq

    filesystem = filesystem or fsspec.filesystem("file")
    with filesystem.open(path, "rb") as file, pq.ParquetFile(file) as table:
        schema = {field.name: str(field.type) for field in table.schema_arrow}
        return {"rows": table.metadata.num_rows, "schema": schema}


def seal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the manifest with ``manifest_sha256``, the hash of all the rest, a signature aside, in canonical JSON."""
    rest = {key: value for key, value in manifest.items() if key not in {"manifest_sha256", "signature"}}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}


def read_manifest(url: str) -> dict[str, Any]:
    """Reads a manifest.

    Raises:
        BundleError: There is none, or it is not a bundle's manifest.
    """
    filesystem, path = fsspec.core.url_to_fs(url)
    try:
        manifest = json.loads(filesystem.cat_file(path))
    except FileNotFoundError as error:
        raise BundleError(
            f"{url}: there is no manifest. Make it with 'kedro run --pipelines=local_prep', or name another."
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{url}: not a readable manifest ({error}).") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict) or "root" not in manifest:
        raise BundleError(f"{url}: not a bundle's manifest; it needs 'root' and 'files'.")
    check_format(manifest, url)
    return manifest


def check_format(manifest: Mapping[str, Any], source: str) -> None:
    """Refuses a manifest that a newer version has written and this one might misread.

    Raises:
        BundleError: It is one.
    """
    number = manifest.get("format", FORMAT)
    if not isinstance(number, int) or not 1 <= number <= FORMAT:
        raise BundleError(f"{source}: format {number!r} is newer than {FORMAT}. Update spelling-transfer to read it.")


def verify_bundle(url: str) -> list[Problem]:
    """Compares every file of a bundle with its manifest.

    Args:
        url: The manifest, a path or a URL.

    Returns:
        What differs; an empty list if the bundle is whole.

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
    pairs: tuple[tuple[Literal["size", "sha256", "rows", "schema"], str], ...] = (
        ("size", "size_bytes"),
        ("sha256", "sha256"),
        ("rows", "rows"),
        ("schema", "schema"),
    )
    return [
        Problem(name, kind, str(expected[key]), str(found.get(key)))
        for kind, key in pairs
        if key in expected and expected[key] != found.get(key)
    ]
