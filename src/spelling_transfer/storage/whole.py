"""Files that are written whole or not at all, and one clear error where one cannot be written or read."""

from __future__ import annotations

import copy
import errno
import shutil
import time
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import TYPE_CHECKING, Any

import fsspec
from kedro.io import DatasetError
from kedro.io.core import get_filepath_str

from spelling_transfer.errors import SpellingTransferError, causes
from spelling_transfer.files import whole_file
from spelling_transfer.storage.remote_errors import check_transport, explain_remote

if TYPE_CHECKING:
    from kedro.io.core import AbstractVersionedDataset

    _Base = AbstractVersionedDataset[Any, Any]
else:
    _Base = object


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DatasetFileError(DatasetError, SpellingTransferError):
    """A dataset's file or folder is missing, damaged, or cannot be written; the message says what to do."""


class DatasetWriteError(DatasetFileError):
    """A dataset cannot be written; what was there before is untouched."""


def clock_of(folder: Path) -> float:
    """Returns the time by the clock that gives a folder's files their times.

    On a mounted drive that is its server's clock. Where no file can be made, it is this machine's.
    """
    try:
        with NamedTemporaryFile(prefix=".", suffix=".tmp", dir=folder) as file:
            return Path(file.name).stat().st_mtime
    except OSError:
        return time.time()


class WholeFile(_Base):
    """Mixin, first in the bases, that makes a file dataset of ``kedro-datasets`` write whole or not at all.

    The wrapped dataset always writes to a local file, which is then moved into place: by a rename on a local disk, by
    one upload elsewhere (fsspec would also upload what was written before an error). Versioned datasets work as ever.
    """

    _protocol: str
    _fs: fsspec.AbstractFileSystem

    def save(self, data: Any) -> None:
        """Saves ``data`` to the dataset's file.

        Raises:
            DatasetWriteError: The file cannot be written; whatever was there before is untouched.
        """
        target = get_filepath_str(self._get_save_path(), self._protocol)
        try:
            check_transport(self._fs)
            if self._protocol == "file":
                with whole_file(Path(target)) as partial:
                    self._save_to(partial, data)
            else:
                with TemporaryDirectory() as folder:
                    file = Path(folder) / PurePosixPath(target).name
                    self._save_to(file, data)
                    self._fs.put_file(str(file), target)
        except Exception as error:
            raise DatasetWriteError(cannot_write(self._location(target), error)) from error
        self._fs.invalidate_cache(target)

    def load(self) -> Any:
        """Loads the dataset's file.

        Raises:
            DatasetFileError: The file is missing or damaged.
        """
        target = get_filepath_str(self._get_load_path(), self._protocol)
        try:
            check_transport(self._fs)
            return super().load()  # type: ignore[safe-super]
        except Exception as error:
            raise DatasetFileError(cannot_read(self._location(target), error)) from error

    def _exists(self) -> bool:
        try:
            return bool(super()._exists())
        except Exception as error:
            if (message := explain_remote(error, self._location(str(self._filepath)), "read")) is None:
                raise
            raise DatasetFileError(message) from error

    def _save_to(self, file: Path, data: Any) -> None:
        # A copy of this dataset that points at a plain local file, so that the saving code is the original's.
        local = copy.copy(self)
        local._filepath = PurePosixPath(file.as_posix())
        local._version = None
        local._protocol, local._fs = "file", fsspec.filesystem("file")
        super(WholeFile, local).save(data)  # type: ignore[safe-super]

    def _location(self, target: str) -> str:
        return target if self._protocol == "file" else f"{self._protocol}://{target}"


def cannot_read(location: str, error: Exception) -> str:
    """Says that a file cannot be read, why, and what to do about it."""
    if (message := explain_remote(error, location, "read")) is not None:
        return message
    *_, root = causes(error)
    # s3fs says what is missing, and puts the server's own answer behind it.
    if isinstance(root, FileNotFoundError) or ("://" in location and _is_missing(error)):
        return f"there is no {location}. Run the pipeline that makes it first."
    message = f"{location} cannot be read: {reason(error)}."
    # pyarrow reports damaged pages as an OSError of its own, which has no number; those of the system have one.
    if isinstance(root, ValueError | EOFError) or (isinstance(root, OSError) and root.errno is None):
        message += " The file was cut short or altered: delete it and run the pipeline that makes it again."
    return message


def _is_missing(error: Exception) -> bool:
    return any(isinstance(cause, FileNotFoundError) for cause in causes(error))


def cannot_write(location: str, error: Exception) -> str:
    """Says that a file or folder cannot be written, why, and how much room is left where that is the reason."""
    if (explained := explain_remote(error, location, "write")) is not None:
        return f"{explained} Nothing was left half-written."
    message = f"{location} cannot be written: {reason(error)}."
    if any(isinstance(cause, OSError) and cause.errno in _DISK_FULL for cause in causes(error)):
        folder = next((parent for parent in Path(location).parents if parent.exists()), Path())
        message += f" {shutil.disk_usage(folder).free / 1e6:.0f} MB are free there: make room and run again."
    return f"{message} Nothing was left half-written."


def reason(error: BaseException) -> str:
    """Returns the innermost cause of an error in one line."""
    *_, root = causes(error)
    if isinstance(root, OSError) and root.strerror:
        in_the_way = isinstance(root, FileExistsError | NotADirectoryError) and root.filename
        return f"{root.strerror} ({root.filename})" if in_the_way else root.strerror
    lines = str(root).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(root).__name__
