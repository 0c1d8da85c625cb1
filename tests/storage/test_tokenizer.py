"""The tokenizer in the catalog."""

import shutil

import pytest
from kedro.io import DatasetError

from spelling_transfer.storage import ChatTokenizerDataset
from spelling_transfer.tokenizer.chat import QWEN3_TOKENIZER_SHA256, TokenizerFileError, _embedded_folder


def test_the_embedded_tokenizer_is_read_once_until_released():
    dataset = ChatTokenizerDataset(folder=None)
    tokenizer = dataset.load()
    assert tokenizer.sha256 == QWEN3_TOKENIZER_SHA256
    assert dataset.load() is tokenizer
    dataset.release()
    assert dataset.load() is not tokenizer


def test_an_altered_tokenizer_file_is_named(tmp_path):
    shutil.copytree(_embedded_folder(), tmp_path / "tokenizer")
    file = tmp_path / "tokenizer" / "tokenizer.json"
    dataset = ChatTokenizerDataset(folder=str(tmp_path / "tokenizer"), sha256=QWEN3_TOKENIZER_SHA256)
    assert dataset.exists()
    file.write_bytes(file.read_bytes().replace(b"straw", b"STRAW", 1))
    with pytest.raises(DatasetError, match=r"tokenizer\.json: sha256 is .* expected aeb13307") as caught:
        dataset.load()
    assert isinstance(caught.value.__cause__, TokenizerFileError)


def test_a_missing_tokenizer_folder_is_named(tmp_path):
    dataset = ChatTokenizerDataset(folder=str(tmp_path / "nowhere"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match=r"nowhere/tokenizer\.json: cannot be read"):
        dataset.load()


def test_a_tokenizer_cannot_be_saved():
    with pytest.raises(DatasetError, match="read only"):
        ChatTokenizerDataset().save("anything")
