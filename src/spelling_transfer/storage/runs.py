"""Runs kept apart: a folder for each below one root, and a pointer to the latest.

``${run_folder:s3://bucket/prefix}`` in ``globals.yml`` stands for ``s3://bucket/prefix/runs/NAME``. The name is that of
``SPELLING_TRANSFER_RUN``; ``new`` makes a new one. Without the variable it is the run that ``latest.json`` points to,
and a new one where there is none. The pointer is moved last, when a run has ended well.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from kedro.utils import find_kedro_project

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import NAME_RULE, is_name
from spelling_transfer.storage.access import check_transport, write_whole
from spelling_transfer.storage.errors import explain_remote

VARIABLE = "SPELLING_TRANSFER_RUN"
POINTER = "latest.json"

_WHOLE: ContextVar[bool] = ContextVar("whole", default=False)
_made: set[str] = set()
"""Names that this process has made, which whoever started it does not know."""


class RunNameError(SpellingTransferError):
    """A run's name cannot be used, or the pointer to the latest run cannot be read or moved."""


def run_folder(root: str) -> str:
    """Returns the folder of this process's run below ``root``; a resolver of the configuration.

    The name is kept in the environment, so that this process and those it starts stay with one run.

    Raises:
        RunNameError: The name has characters that a folder's name should not have, or the pointer cannot be read.
    """
    root = os.path.expanduser(os.path.expandvars(root.rstrip("/")))  # noqa: PTH111 - it may be a URL
    name = os.environ.get(VARIABLE, "")
    if not name:
        name = read_latest(root) or new_run_name()
    elif name == "new":
        name = new_run_name()
    if not (name.isascii() and is_name(name)):
        raise RunNameError(f"{VARIABLE}: {name!r} cannot name a run. Use {NAME_RULE} (ASCII); or 'new'.")
    os.environ[VARIABLE] = name
    return f"{root}/runs/{name}"


def is_run_folder(storage_root: str) -> bool:
    """Whether :func:`run_folder` returned it: a folder for all runs may lie below one named ``runs``, too."""
    return storage_root.endswith(f"/runs/{os.environ.get(VARIABLE)}")


def how_to_go_on(storage_root: str) -> str | None:
    """Returns how to name a run that has a new name; without it the next process would not find what this one made.

    Args:
        storage_root: What :func:`run_folder` returned, or a folder for all runs.
    """
    _, kept_apart, name = storage_root.rpartition("/runs/")
    return f"{VARIABLE}={name}" if kept_apart and name in _made else None


@contextmanager
def whole_run() -> Iterator[None]:
    """Says of the runs inside that they are whole although their nodes are named: the others need not run again."""
    before = _WHOLE.set(True)
    try:
        yield
    finally:
        _WHOLE.reset(before)


def is_part_of_a_run(run_params: Mapping[str, Any]) -> bool:
    """Whether a run of chosen nodes is a part of another, perhaps on a rented machine, which sums up for both."""
    return bool(run_params.get("node_names")) and not _WHOLE.get()


def new_run_name() -> str:
    """Returns a name that no other run has: the time, UTC, to read it by, and chance."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    _made.add(name)
    return name


def read_latest(root: str) -> str | None:
    """Returns the name of the latest run that ended well, or ``None``.

    Raises:
        RunNameError: The pointer is there but cannot be read.
    """
    filesystem, path = open_root(root)
    location = f"{root}/{POINTER}"
    try:
        check_transport(filesystem)
        filesystem.invalidate_cache()
        content = json.loads(filesystem.cat_file(f"{path}/{POINTER}"))
        name = str(content["run"])
    except FileNotFoundError as error:
        if (message := explain_remote(error, location, "read")) is not None:
            raise RunNameError(message) from error
        return None
    except Exception as error:
        message = explain_remote(error, location, "read") or f"{location}: not a readable pointer ({error})."
        raise RunNameError(f"{message} {VARIABLE} names a run without it.") from error
    if not (name.isascii() and is_name(name)):
        raise RunNameError(f"{location}: points to {name!r}, which is not the name of a run. {VARIABLE} names one.")
    return name


def open_root(root: str, project: Path | None = None) -> tuple[Any, str]:
    """Returns where data are kept as a file system and a path in it; a relative one begins at the project."""
    if "://" not in root:
        root = str((project or find_kedro_project(Path.cwd()) or Path.cwd()) / root)
    filesystem, path = fsspec.core.url_to_fs(root)
    return filesystem, str(path).rstrip("/")


def move_latest(storage_root: str) -> None:
    """Points to a run; the last act of one that ended well.

    Args:
        storage_root: What :func:`run_folder` returned.

    Raises:
        RunNameError: The pointer cannot be written.
    """
    root, _, name = storage_root.rpartition("/runs/")
    filesystem, path = open_root(root)
    pointer = {"run": name, "moved_at": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        write_whole(filesystem, f"{path}/{POINTER}", (json.dumps(pointer) + "\n").encode())
    except Exception as error:
        message = explain_remote(error, f"{root}/{POINTER}", "write") or f"{root}/{POINTER}: {error}."
        raise RunNameError(message) from error


def who() -> str:
    """Returns the user and the machine, as records name them."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for its user
        user = "unknown"
    return re.sub(r"[^\w.@-]", "_", f"{user}@{socket.gethostname()}")
