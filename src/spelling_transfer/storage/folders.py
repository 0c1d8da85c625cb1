"""A folder of this machine that a node works in, such as that of the studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from spelling_transfer.storage.whole import DatasetFileError, cannot_write


class WorkFolderDataset(AbstractDataset[Path, Path]):
    """Gives a local folder, made where it is missing; what is in it is the business of the node that reads it.

    A study's records, checkpoints and workers need a place that outlives a killed run, which no output of a node is.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Points at a folder.

        Args:
            filepath: The folder; relative paths start at the project's root.
            metadata: Anything; read by Kedro-Viz, not by Kedro.
        """
        if "://" in filepath:
            raise DatasetError(f"filepath: {filepath} is not a folder of this machine.")
        self._work_folder = Path(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Returns the folder.

        Raises:
            DatasetFileError: It cannot be made.
        """
        try:
            self._work_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetFileError(cannot_write(str(self._work_folder), error)) from error
        return self._work_folder

    def save(self, data: Path) -> NoReturn:
        """Refuses: the folder is worked in, not replaced."""
        raise DatasetError(f"{self._work_folder}: is a folder to work in; no node can have it as its output.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        # Not as a file path: it is a place on whichever machine the node runs on, and nothing that crosses to another.
        return {"work_folder": str(self._work_folder)}
