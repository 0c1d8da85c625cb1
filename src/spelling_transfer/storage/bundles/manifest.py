"""The manifest of a bundle: its files, and what one has to know to trust and to use them; its seal and signature.

A manifest is JSON. Its ``files`` maps each file's path, relative to ``root``, to its sha256, its size in bytes and,
for tables, its rows and columns; ``root`` is relative to the manifest's own folder; ``manifest_sha256`` is the hash of
everything else in it. A signature is ed25519 over that hash, which stands for every file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spelling_transfer import __version__
from spelling_transfer.storage.bundles.local_files import check_names
from spelling_transfer.storage.errors import BundleError
from spelling_transfer.storage.runs import who

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT = 1
"""Of manifests. One without a number has this one."""
NOTE_LENGTH = 1000
_WHAT_TO_DO = "Restore its file in manifests/, or remove that to do without this version."
_DOMAIN = b"spelling-transfer bundle\n"  # a signature for this purpose is none for another


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


class Signature(_Part):
    """Who vouches for a manifest."""

    algorithm: Literal["ed25519"] = Field("ed25519", description="The only one.")
    public_key: str = Field(description="The signer's public key, 32 bytes in base64.")
    value: str = Field(description="The signature, 64 bytes in base64.")


class BundleManifest(_Part):
    """One version of a bundle. Paths are relative to ``root``, which is relative to the manifest's own folder."""

    format: int = Field(FORMAT, ge=1, description="Version of this form.")
    number: int = Field(ge=1, description="Number of the version; the next is one higher.")
    created_at: datetime = Field(description="When, by the clock of who pushed; the number gives the order.")
    created_by: str = Field(description="User and machine.")
    note: str = Field("", max_length=NOTE_LENGTH, description="What the user says of it.")
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

    def says_the_same(self, other: BundleManifest) -> bool:
        """Returns whether another version has the same files and says the same of them."""
        ignored = {"number", "created_at", "created_by", "note", "parents", "manifest_sha256", "signature", "code"}
        return self.model_dump(exclude=ignored) == other.model_dump(exclude=ignored)

    def sealed(self) -> BundleManifest:
        """Returns the manifest with its own hash."""
        return self.model_copy(update={"manifest_sha256": seal(_plain(self))["manifest_sha256"]})

    def to_bytes(self) -> bytes:
        """Returns the manifest as it is stored."""
        return (json.dumps(_plain(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def seal(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the manifest with ``manifest_sha256``, the hash of the rest without signature, as canonical JSON."""
    rest = {key: value for key, value in manifest.items() if key not in {"manifest_sha256", "signature"}}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}


def check_format(manifest: Mapping[str, Any], source: str) -> None:
    """Refuses a manifest that a newer version has written and this one might misread.

    Raises:
        BundleError: It is one.
    """
    number = manifest.get("format", FORMAT)
    if not isinstance(number, int) or not 1 <= number <= FORMAT:
        raise BundleError(f"{source}: format {number!r} is newer than {FORMAT}. Update spelling-transfer to read it.")


def parse_manifest(data: bytes, source: str) -> BundleManifest:
    """Reads a manifest and checks all that can be checked without the files.

    Raises:
        BundleError: It is not one, is of a newer version, was altered, or names files that must not be written.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{source}: not a manifest ({error}). {_WHAT_TO_DO}") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise BundleError(f"{source}: not a manifest; it needs 'files'. {_WHAT_TO_DO}")
    check_format(content, source)
    try:
        manifest = BundleManifest.model_validate(content)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        place = ".".join(map(str, detail["loc"]))
        raise BundleError(f"{source}: not a manifest of format {FORMAT}: {place}: {detail['msg']}.") from error
    if seal(content)["manifest_sha256"] != manifest.manifest_sha256:
        raise BundleError(f"{source}: the manifest was altered: its hash does not match its content. {_WHAT_TO_DO}")
    check_names(manifest.files, source)
    return manifest


def read_record(file: Path) -> BundleManifest | None:
    """Returns the manifest that a folder keeps of itself; ``None`` where there is none, or it is not readable."""
    with suppress(FileNotFoundError, BundleError):
        return parse_manifest(file.read_bytes(), str(file))
    return None


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
        created_by=who(),
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


def make_keys(private_file: Path) -> Path:
    """Writes a private key, readable by its owner alone, and beside it the public one (``.pub``); returns its file.

    Raises:
        BundleError: One of the files is there already or cannot be written, or the private one has a public one's name.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public_file = private_file.with_suffix(".pub")
    if public_file == private_file:
        raise BundleError(f"{private_file}: public keys end in .pub. Name the private one {private_file.stem}.pem.")
    try:
        if public_file.exists():  # neither is written then
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(public_file))
        for file, data, mode in ((private_file, private, 0o600), (public_file, public, 0o644)):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
    except FileExistsError as error:
        raise BundleError(f"{error.filename}: exists already, and a key is never overwritten.") from error
    except OSError as error:
        raise BundleError(f"{error.filename}: cannot be written: {error.strerror}.") from error
    return public_file


def sign(manifest: BundleManifest, key: Ed25519PrivateKey) -> BundleManifest:
    """Returns a sealed manifest with a signature by a key of `read_private_key`."""
    value = key.sign(_DOMAIN + manifest.manifest_sha256.encode())
    signature = Signature(public_key=public_key_of(key), value=b64encode(value).decode())
    return manifest.model_copy(update={"signature": signature})


def public_key_of(key: Ed25519PrivateKey) -> str:
    """Returns the public key to a private one, as a signature has it."""
    return b64encode(key.public_key().public_bytes_raw()).decode()


def check_signature(manifest: BundleManifest, key_file: Path, source: str) -> None:
    """Checks that a manifest was signed with a key one trusts.

    Args:
        manifest: A manifest whose own hash holds.
        key_file: The public key, PEM.
        source: Where the manifest comes from.

    Raises:
        BundleError: It is not signed, or by another key.
    """
    from cryptography.exceptions import InvalidSignature

    key = _public_key(key_file)
    if manifest.signature is None:
        raise BundleError(
            f"{source}: version {manifest.number} is not signed, and a signature by {key_file} is asked for."
        )
    try:
        key.verify(b64decode(manifest.signature.value), _DOMAIN + manifest.manifest_sha256.encode())
    except (InvalidSignature, ValueError) as error:
        raise BundleError(f"{source}: version {manifest.number} is not signed with the key of {key_file}.") from error


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """Returns the key in a PEM file.

    Raises:
        BundleError: There is no such key, or it is of another kind.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        # The library's message may describe the key; what matters is that it cannot be used.
        raise BundleError(f"{file}: not a private key in PEM without a password ({type(error).__name__}).") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{file}: not an ed25519 key. Make one: kedro bundle keygen {file.name}")
    return key


def _public_key(file: Path) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: not a public key in PEM ({type(error).__name__}).") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{file}: not an ed25519 key.")
    return key
