"""Places where bundles are kept: one small class for each kind, all with the same few operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spelling_transfer.storage.stores.base import BundleStore, ContentChangedError, Stored, StoreError, open_store

__all__ = ["BundleStore", "ContentChangedError", "StoreError", "Stored", "open_store"]

if TYPE_CHECKING:  # each kind conforms
    from spelling_transfer.storage.stores.folder import FolderStore
    from spelling_transfer.storage.stores.lightning import LightningStore
    from spelling_transfer.storage.stores.s3 import S3Store

    _folder: type[BundleStore] = FolderStore
    _s3: type[BundleStore] = S3Store
    _lightning: type[BundleStore] = LightningStore
