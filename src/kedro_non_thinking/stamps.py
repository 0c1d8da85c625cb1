"""What tells one state of a file from another, so that nothing is judged twice in a run."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, NamedTuple


class Stamp(NamedTuple):
    """The state of a file on this machine; a change of its content changes it."""

    path: str
    device: int
    inode: int
    size: int
    changed_ns: int
    modified_ns: int


def file_stamp(dataset: Any) -> Stamp | None:
    """Returns the state of the one file that a dataset reads, or ``None`` if it reads none on this machine.

    Args:
        dataset: A Kedro dataset.
    """
    if getattr(dataset, "_protocol", "file") not in ("file", "local"):
        return None
    try:
        # Kedro's own way to the file of the version that is read; without it there is no one file.
        path = Path(dataset._get_load_path())
        state = path.stat()
    except Exception:  # noqa: BLE001  (whatever a dataset of someone else's raises: it is judged each time)
        return None
    if not stat.S_ISREG(state.st_mode):
        return None
    return Stamp(str(path), state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns, state.st_mtime_ns)
