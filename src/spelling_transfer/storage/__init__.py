"""Dataset classes of the catalog. What they save is there whole or not at all."""

from spelling_transfer.storage.bundle_files import BundleFilesDataset
from spelling_transfer.storage.documents import JSONDataset, PlotlyDataset, TextDataset
from spelling_transfer.storage.hub import HubModelDataset
from spelling_transfer.storage.models import ModelFolderDataset
from spelling_transfer.storage.tables import CSVDataset, ParquetDataset
from spelling_transfer.storage.tokenizer import ChatTokenizerDataset
from spelling_transfer.storage.whole import DatasetFileError, DatasetWriteError
from spelling_transfer.storage.word_list import WordListDataset

__all__ = [
    "BundleFilesDataset",
    "CSVDataset",
    "ChatTokenizerDataset",
    "DatasetFileError",
    "DatasetWriteError",
    "HubModelDataset",
    "JSONDataset",
    "ModelFolderDataset",
    "ParquetDataset",
    "PlotlyDataset",
    "TextDataset",
    "WordListDataset",
]
