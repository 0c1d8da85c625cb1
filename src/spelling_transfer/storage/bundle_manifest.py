"""The manifest of one version of a bundle: its files, and what one has to know to trust and to use them."""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spelling_transfer import __version__
from spelling_transfer.storage.bundle import FORMAT, BundleError, check_format, seal
from spelling_transfer.storage.bundle_names import check_names
from spelling_transfer.storage.bundle_sign import Signature


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class FileFacts(_Part):
    """What is known of one file."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Hash of the content.")
    size_bytes: int = Field(ge=0, description="Size in bytes.")
    rows: int | None = Field(None, ge=0, description="Rows, of a Parquet file.")
    columns: dict[str, str] | None = Field(None, alias="schema", description="Type of each column, of a Parquet file.")


class CodeVersion(_Part):
    """The program that wrote the manifest."""

    version: str = Field(description="Version of spelling-transfer.")
    sha256: str | None = Field(None, description="Hash of the code that prepared the data, where they say it.")


class PolicyState(_Part):
    """What the non-thinking policy found in the run that made the files."""

    kept: bool = Field(description="Whether every rule was kept.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Hash of the report.")


class BundleManifest(_Part):
    """One version of a bundle. Paths are relative to ``root``, which is relative to the manifest's own folder."""

    format: int = Field(FORMAT, ge=1, description="Version of this form.")
    number: int = Field(ge=1, description="Number of the version; the next is one higher.")
    created_at: datetime = Field(description="When, by the clock of who pushed; the number gives the order.")
    created_by: str = Field(description="User and machine.")
    note: str = Field("", max_length=1000, description="What the user says of it.")
    root: str = Field(".", description="Where the files are, as seen from the manifest.")
    files: dict[str, FileFacts] = Field(description="Each file by its path.")
    tokenizer_sha256: str | None = Field(None, description="Hash of the tokenizer that the examples were encoded with.")
    template_sha256: str | None = Field(None, description="Hash of the chat template they were rendered with.")
    policy: PolicyState | None = Field(None, description="State of the non-thinking policy.")
    code: CodeVersion = Field(description="The program that wrote this.")
    parents: list[str] = Field(default_factory=list, description="Manifests that this version comes from, by hash.")
    manifest_sha256: str = Field("", description="Hash of everything above, in canonical JSON.")
    signature: Signature | None = Field(None, description="Who vouches for the hash.")

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.files.values())

    @property
    def hashes(self) -> dict[str, int]:
        """Size of each content by its hash."""
        return {file.sha256: file.size_bytes for file in self.files.values()}

    def says_the_same(self, other: BundleManifest | None) -> bool:
        """Returns whether another version has the same files and says the same of them."""
        aside = {"number", "created_at", "created_by", "note", "parents", "manifest_sha256", "signature", "code"}
        return other is not None and self.model_dump(exclude=aside) == other.model_dump(exclude=aside)

    def sealed(self) -> BundleManifest:
        """Returns the manifest with its own hash."""
        return self.model_copy(update={"manifest_sha256": seal(_plain(self))["manifest_sha256"]})

    def to_bytes(self) -> bytes:
        """Returns the manifest as it is stored."""
        return (json.dumps(_plain(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse_manifest(data: bytes, source: str) -> BundleManifest:
    """Reads a manifest and checks all that can be checked without the files.

    Raises:
        BundleError: It is not one, is of a newer version, was altered, or names files that must not be written.
    """
    try:
        content = json.loads(data)
    except ValueError as error:
        raise BundleError(f"{source}: not a manifest ({error}).") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise BundleError(f"{source}: not a manifest; it needs 'files'.")
    check_format(content, source)
    try:
        manifest = BundleManifest.model_validate(content)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(map(str, detail["loc"]))
        raise BundleError(f"{source}: not a manifest of format {FORMAT}: {place}: {detail['msg']}.") from error
    if seal(content)["manifest_sha256"] != manifest.manifest_sha256:
        raise BundleError(f"{source}: the manifest was altered: its own hash is not that of its content.")
    check_names(manifest.files, source)
    return manifest


def new_manifest(files: Mapping[str, Mapping[str, Any]], root: Path, note: str) -> BundleManifest:
    """Returns the manifest of a folder, its number and parents still to be set.

    What tokenizer, template and code the data were made with, and how the policy stood, is taken from the records that
    runs leave among the files (``prep_manifest.json``, ``policy_report.json``).
    """
    prepared, policy = _record(root, files, "prep_manifest.json"), _record(root, files, "policy_report.json")
    policy_name = _name(files, "policy_report.json")
    return BundleManifest(
        number=1,
        created_at=datetime.now(UTC).replace(microsecond=0),
        created_by=_who(),
        note=note,
        files={name: FileFacts.model_validate(facts) for name, facts in sorted(files.items())},
        tokenizer_sha256=prepared.get("tokenizer_sha256"),
        template_sha256=prepared.get("template_sha256"),
        policy=PolicyState(kept=bool(policy["kept"]), sha256=files[policy_name]["sha256"])
        if policy_name and "kept" in policy
        else None,
        code=CodeVersion(version=__version__, sha256=(prepared.get("code") or {}).get("sha256")),
    )


def _plain(manifest: BundleManifest) -> dict[str, Any]:
    plain: dict[str, Any] = manifest.model_dump(mode="json", by_alias=True)
    for name, facts in plain["files"].items():
        plain["files"][name] = {key: value for key, value in facts.items() if value is not None}
    return plain


def _name(files: Mapping[str, Any], name: str) -> str | None:
    found = [path for path in files if path.rsplit("/", 1)[-1] == name]
    return min(found, key=lambda path: (path.count("/"), path), default=None)


def _record(root: Path, files: Mapping[str, Any], name: str) -> dict[str, Any]:
    path = _name(files, name)
    if path is not None:
        with suppress(OSError, ValueError):
            content = json.loads((root / path).read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return content
    return {}


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for its user
        user = "unknown"
    return re.sub(r"[^\w.@-]", "_", f"{user}@{socket.gethostname()}")
