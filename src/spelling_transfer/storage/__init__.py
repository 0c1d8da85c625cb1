"""Where data lie and how they travel: dataset classes of the catalog, runs kept apart, bundles.

What a dataset saves is there whole or not at all, on a disk and on an object store, and each run records where data
come from. Others use the names below alone; :mod:`.bundles` has what ``kedro bundle`` does. Each name is imported when
it is asked for: those for tables bring pandas along, which other modules can do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spelling_transfer.storage.access import set_up_stores
    from spelling_transfer.storage.bundles.manifest import seal
    from spelling_transfer.storage.bundles.pull import pull_bundle
    from spelling_transfer.storage.bundles.push import push_bundle
    from spelling_transfer.storage.bundles.stores import open_store
    from spelling_transfer.storage.bundles.verify import verify_bundle
    from spelling_transfer.storage.errors import BundleError, DatasetFileError, DatasetWriteError, RemoteError
    from spelling_transfer.storage.file_datasets import (
        CSVDataset,
        JSONDataset,
        ParquetDataset,
        PlotlyDataset,
        TextDataset,
    )
    from spelling_transfer.storage.history import StorageHook
    from spelling_transfer.storage.model_folders import ModelFolderDataset
    from spelling_transfer.storage.runs import run_folder
    from spelling_transfer.storage.sources import (
        BundleFilesDataset,
        ChatTokenizerDataset,
        GgufModelDataset,
        GgufTokenizerDataset,
        HubModelDataset,
        WordListDataset,
        WorkFolderDataset,
    )

_HOMES = {
    "access": ("set_up_stores",),
    "bundles.manifest": ("seal",),
    "bundles.pull": ("pull_bundle",),
    "bundles.push": ("push_bundle",),
    "bundles.stores": ("open_store",),
    "bundles.verify": ("verify_bundle",),
    "errors": ("BundleError", "DatasetFileError", "DatasetWriteError", "RemoteError"),
    "file_datasets": ("CSVDataset", "JSONDataset", "ParquetDataset", "PlotlyDataset", "TextDataset"),
    "history": ("StorageHook",),
    "model_folders": ("ModelFolderDataset",),
    "runs": ("run_folder",),
    "sources": (
        *("BundleFilesDataset", "ChatTokenizerDataset", "GgufModelDataset", "GgufTokenizerDataset"),
        *("HubModelDataset", "WordListDataset", "WorkFolderDataset"),
    ),
}

__all__ = [
    "BundleError",
    "BundleFilesDataset",
    "CSVDataset",
    "ChatTokenizerDataset",
    "DatasetFileError",
    "DatasetWriteError",
    "GgufModelDataset",
    "GgufTokenizerDataset",
    "HubModelDataset",
    "JSONDataset",
    "ModelFolderDataset",
    "ParquetDataset",
    "PlotlyDataset",
    "RemoteError",
    "StorageHook",
    "TextDataset",
    "WordListDataset",
    "WorkFolderDataset",
    "open_store",
    "pull_bundle",
    "push_bundle",
    "run_folder",
    "seal",
    "set_up_stores",
    "verify_bundle",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
