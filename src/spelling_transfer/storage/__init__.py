"""Where data lie and how they travel: dataset classes of the catalog, runs kept apart, bundles.

What a dataset saves is there whole or not at all, on a disk and on an object store, and each run records where data
come from. Others use the names below alone; :mod:`.bundles` has what ``kedro bundle`` does. Each name is imported when
it is asked for: those for tables bring pandas along, which other modules can do without.
"""

from typing import TYPE_CHECKING

from spelling_transfer.lazy import lazy_names

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
    from spelling_transfer.storage.table_parts import TablePartsDataset

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
    "TablePartsDataset",
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


__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "spelling_transfer.storage.access": ["set_up_stores"],
        "spelling_transfer.storage.bundles.manifest": ["seal"],
        "spelling_transfer.storage.bundles.pull": ["pull_bundle"],
        "spelling_transfer.storage.bundles.push": ["push_bundle"],
        "spelling_transfer.storage.bundles.stores": ["open_store"],
        "spelling_transfer.storage.bundles.verify": ["verify_bundle"],
        "spelling_transfer.storage.errors": ["BundleError", "DatasetFileError", "DatasetWriteError", "RemoteError"],
        "spelling_transfer.storage.file_datasets": [
            *("CSVDataset", "JSONDataset", "ParquetDataset", "PlotlyDataset", "TextDataset"),
        ],
        "spelling_transfer.storage.history": ["StorageHook"],
        "spelling_transfer.storage.model_folders": ["ModelFolderDataset"],
        "spelling_transfer.storage.runs": ["run_folder"],
        "spelling_transfer.storage.sources": [
            *("BundleFilesDataset", "ChatTokenizerDataset", "GgufModelDataset", "GgufTokenizerDataset"),
            *("HubModelDataset", "WordListDataset", "WorkFolderDataset"),
        ],
        "spelling_transfer.storage.table_parts": ["TablePartsDataset"],
    },
)
