"""Signed manifests: ed25519 over the manifest's hash, which stands for every file in it."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from spelling_transfer.storage.bundle import BundleError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from spelling_transfer.storage.bundle_manifest import BundleManifest

_DOMAIN = b"spelling-transfer bundle\n"  # a signature for this purpose is none for another


class Signature(BaseModel):
    """Who vouches for a manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: Literal["ed25519"] = Field("ed25519", description="The only one.")
    public_key: str = Field(description="The signer's public key, 32 bytes in base64.")
    value: str = Field(description="The signature, 64 bytes in base64.")


def make_keys(private_file: Path) -> Path:
    """Writes a new pair of keys: the private one, readable by its owner alone, and beside it the public one.

    Returns:
        The file of the public key: the same name, ending in ``.pub``.

    Raises:
        BundleError: One of the files is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public_file = private_file.with_suffix(".pub")
    try:
        for file, data, mode in ((private_file, private, 0o600), (public_file, public, 0o644)):
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
    except FileExistsError as error:
        raise BundleError(f"{error.filename}: is there already, and a key is never overwritten.") from error
    except OSError as error:
        raise BundleError(f"{error.filename}: cannot be written: {error.strerror}.") from error
    return public_file


def sign(manifest: BundleManifest, key_file: Path) -> BundleManifest:
    """Returns the manifest with a signature.

    Args:
        manifest: A sealed manifest.
        key_file: The private key, PEM, as ``kedro bundle keygen`` writes it.

    Raises:
        BundleError: There is no such key, or it is of another kind.
    """
    key = read_private_key(key_file)
    value = key.sign(_DOMAIN + manifest.manifest_sha256.encode())
    public = key.public_key().public_bytes_raw()
    signature = Signature(public_key=b64encode(public).decode(), value=b64encode(value).decode())
    return manifest.model_copy(update={"signature": signature})


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
