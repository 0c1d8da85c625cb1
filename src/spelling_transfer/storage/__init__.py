"""Dataset classes of the catalog. What they save is there whole or not at all.

Each class is imported when it is asked for: those for tables bring pandas and a database library along, which other
modules of this package can do without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spelling_transfer.storage.bundle_files import BundleFilesDataset
    from spelling_transfer.storage.documents import JSONDataset, PlotlyDataset, TextDataset
    from spelling_transfer.storage.folders import WorkFolderDataset
    from spelling_transfer.storage.gguf import GgufModelDataset, GgufTokenizerDataset
    from spelling_transfer.storage.hub import HubModelDataset
    from spelling_transfer.storage.models import ModelFolderDataset
    from spelling_transfer.storage.tables import CSVDataset, ParquetDataset
    from spelling_transfer.storage.tokenizer import ChatTokenizerDataset
    from spelling_transfer.storage.whole import DatasetFileError, DatasetWriteError
    from spelling_transfer.storage.word_list import WordListDataset

_MODULES = {
    "BundleFilesDataset": "bundle_files",
    "CSVDataset": "tables",
    "ChatTokenizerDataset": "tokenizer",
    "DatasetFileError": "whole",
    "DatasetWriteError": "whole",
    "GgufModelDataset": "gguf",
    "GgufTokenizerDataset": "gguf",
    "HubModelDataset": "hub",
    "JSONDataset": "documents",
    "ModelFolderDataset": "models",
    "ParquetDataset": "tables",
    "PlotlyDataset": "documents",
    "TextDataset": "documents",
    "WordListDataset": "word_list",
    "WorkFolderDataset": "folders",
}

__all__ = [
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
    "TextDataset",
    "WordListDataset",
    "WorkFolderDataset",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
