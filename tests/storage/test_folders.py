"""A work folder is there when a node asks for it, and no node can replace it."""

from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DataCatalog, DatasetError

from kedro_lightning.places import place_of
from spelling_transfer.storage import DatasetFileError, WorkFolderDataset


def test_the_folder_is_made_and_what_is_in_it_stays(tmp_path: Path) -> None:
    dataset = WorkFolderDataset(filepath=str(tmp_path / "deep" / "studies"))
    assert dataset.exists()
    (dataset.load() / "note").write_text("kept")
    assert (WorkFolderDataset(filepath=str(tmp_path / "deep" / "studies")).load() / "note").read_text() == "kept"


def test_it_is_no_output_and_no_url(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no node can have it as its output"):
        WorkFolderDataset(filepath=str(tmp_path)).save(tmp_path)
    with pytest.raises(DatasetError, match="not a folder of this machine"):
        WorkFolderDataset(filepath="s3://bucket/studies")


def test_a_file_in_its_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "studies").write_text("")
    with pytest.raises(DatasetFileError, match="studies cannot be written"):
        WorkFolderDataset(filepath=str(tmp_path / "studies")).load()


def test_a_job_elsewhere_uses_a_folder_of_its_own(tmp_path: Path) -> None:
    catalog = DataCatalog({"studies": WorkFolderDataset(filepath=str(tmp_path))})
    place = place_of("studies", catalog)
    assert place.kept
    assert place.location == ""
