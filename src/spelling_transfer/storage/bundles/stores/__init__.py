"""Stores of bundles: one class for each kind, all with the same operations."""

from __future__ import annotations

from pathlib import Path

from spelling_transfer.storage.bundles.stores.base import BundleStore, Stored, StoreError

__all__ = ["BundleStore", "StoreError", "Stored", "open_store"]


def open_store(url: str, *, encryption: str = "auto", jobs: int = 8) -> BundleStore:
    """Returns the place that a URL names.

    Args:
        url: ``s3://bucket/prefix``, ``lightning://owner/teamspace/folder``, or a local folder.
        encryption: For S3: ``AES256``, ``aws:kms``, ``none``, or ``auto``, which is ``AES256`` except on loopback.
        jobs: How many transfers at once.

    Raises:
        StoreError: There is no such kind of place, or it is not reached safely.
    """
    scheme, separator, rest = url.partition("://")
    shown = f"{scheme}://{rest.rpartition('@')[2]}"  # without a password
    if separator and scheme != "file" and {".", ".."} & set(rest.split("/")):
        raise StoreError(f"{shown}: a part of it is '.' or '..', which a store cannot have. Write out the path.")
    if separator and scheme != "file" and ":" in rest.rpartition("@")[0]:
        raise StoreError(f"{shown}: an address of a bundle holds no name and no password; keys come from elsewhere.")
    if separator and scheme == "s3":
        from spelling_transfer.storage.bundles.stores.s3 import S3Store

        return S3Store(url, encryption=encryption, jobs=jobs)
    if separator and scheme == "lightning":
        from spelling_transfer.storage.bundles.stores.lightning import LightningStore

        return LightningStore(url)
    if separator and scheme != "file":
        raise StoreError(
            f"{shown}: bundles are kept at s3://bucket/prefix, lightning://owner/teamspace, or in a folder."
        )
    from spelling_transfer.storage.bundles.stores.folder import FolderStore

    return FolderStore(Path(rest if separator else url))
