"""What a Studio had installed when it was set up: compared with this machine before anything is rented.

Each job compares once more, where it runs (`runner.JobRunner`): somebody may have changed the Studio since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .code import package_versions, project_distribution
from .errors import PreflightError

if TYPE_CHECKING:
    from .platform.studios import StudiosApi, StudioView

INSTALLED_FILE = ".kedro-compute/installed.json"
"""Among the files of a Studio: versions of packages and hashes of lock files, from its set-up."""

LOCK_FILES = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "requirements.lock")
_LINES = 10


def lock_hashes(project: Path) -> dict[str, str]:
    """Returns the SHA-256 of each lock file of a project, by its name."""
    files = [project / name for name in LOCK_FILES]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def record(packages: Mapping[str, str], project: Path) -> bytes:
    """Returns the content of the file."""
    return json.dumps({"packages": dict(packages), "locks": lock_hashes(project)}, sort_keys=True).encode()


def check_installed(project: Path, studios: Mapping[str, StudioView], api: StudiosApi) -> None:
    """Makes sure that each Studio has the packages of this machine, as far as its set-up left word of them.

    Args:
        project: The project's folder.
        studios: Task -> its Studio.
        api: The platform's Studios.

    Raises:
        PreflightError: Names each package that differs, and what to do.
    """
    here, locks = package_versions(project_distribution(project)), lock_hashes(project)
    for task, studio in studios.items():
        content = api.download(studio, INSTALLED_FILE)
        if content is None:
            continue  # set up by hand: its jobs compare before they do anything
        there = json.loads(content)
        lines = [
            f"{name}: {there['packages'].get(name, 'missing')} there, {version} here"
            for name, version in sorted(here.items())
            if there["packages"].get(name) != version
        ]
        lines += [
            f"{name}: another one than when the Studio was set up"
            for name in sorted(locks.keys() | there["locks"].keys())
            if locks.get(name) != there["locks"].get(name)
        ]
        if lines:
            more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
            raise PreflightError(
                f"Studio {studio.name} has other packages than this machine, so its results would not be those of the "
                "run:\n  " + "\n  ".join(lines[:_LINES] + more) + "\nNothing was started. "
                f"'kedro compute studios create {task}' installs those of this machine; install those of the Studio "
                "here instead, or set code.check_packages: false in compute.yml."
            )
