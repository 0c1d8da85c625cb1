"""The user's own word list in the catalog."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DatasetError

from spelling_transfer.storage import WordListDataset
from spelling_transfer.words.word_list import WordListFile


def test_no_file_is_the_built_in_list():
    dataset = WordListDataset()
    assert dataset.load() == WordListFile("the built-in word list", None)
    assert dataset.exists()


def test_a_file_comes_as_it_is(tmp_path: Path):
    (tmp_path / "my.csv").write_bytes(b"word\nstra\xff\n")
    dataset = WordListDataset(filepath=str(tmp_path / "my.csv"))
    assert dataset.load() == WordListFile("my.csv", b"word\nstra\xff\n")


def test_a_missing_file_says_what_to_set(tmp_path: Path):
    dataset = WordListDataset(filepath=str(tmp_path / "none.txt"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="Set 'filepath' of 'word_list'"):
        dataset.load()


def test_it_is_read_only():
    with pytest.raises(DatasetError, match="read only"):
        WordListDataset().save("straw")
