"""The packages of a run: the same versions here, in each Studio and in each job, or nothing is computed."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from .errors import PreflightError

if TYPE_CHECKING:
    from .platform.studios import StudiosApi, StudioView

PACKAGES_FILE = ".kedro-compute/packages.json"
"""The versions of the direct dependencies, in every bundle; each job compares its own before it does anything."""

INSTALLED_FILE = ".kedro-compute/installed.json"
"""Among the files of a Studio: versions of packages and hashes of lock files, from its set-up."""

LOCK_FILES = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "requirements.lock")
_MOST_LINES = 10


def distribution_of(project: Path) -> str | None:
    """Returns the name of the project's distribution, from its ``pyproject.toml``."""
    try:
        content = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    name = content.get("project", {}).get("name")
    return str(name) if name else None


def package_versions(project: Path) -> dict[str, str]:
    """Returns the public versions of a project's direct dependencies, as they are installed here.

    Local parts (``+cpu``, ``+cu128``) are left out: the same release is built differently for each kind of machine.
    Nothing is returned for a project that is not installed.
    """
    try:
        required = metadata.requires(distribution_of(project) or "none") or []
    except metadata.PackageNotFoundError:
        return {}
    found = {}
    for line in required:
        try:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                found[requirement.name.lower()] = Version(metadata.version(requirement.name)).public
        except (InvalidRequirement, metadata.PackageNotFoundError, InvalidVersion):
            continue
    return found


def packages_json(project: Path) -> str:
    """Returns the content of ``PACKAGES_FILE``."""
    return json.dumps(package_versions(project), sort_keys=True, indent=1)


def differences(found: Mapping[str, str], wanted: Mapping[str, str], said: str = "{} there, {} here") -> list[str]:
    """Returns how packages differ from those that are wanted, a line each; by default of another machine from ours."""
    return [
        f"{name}: {said.format(found.get(name, 'missing'), version)}"
        for name, version in sorted(wanted.items())
        if found.get(name) != version
    ]


def differences_from_the_run(project: Path) -> list[str]:
    """Returns, in a job, how the packages of this machine differ from those of the run, a line each."""
    file = project / PACKAGES_FILE
    expected: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return differences(package_versions(project), expected, "{} here, {} where the run was started")


def lock_hashes(project: Path) -> dict[str, str]:
    """Returns the SHA-256 of each lock file of a project, by its name."""
    files = [project / name for name in LOCK_FILES]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def installed_json(packages: Mapping[str, str], project: Path) -> bytes:
    """Returns the content of ``INSTALLED_FILE``."""
    return json.dumps({"packages": dict(packages), "locks": lock_hashes(project)}, sort_keys=True).encode()


def check_installed(project: Path, studios: Mapping[str, StudioView], api: StudiosApi) -> None:
    """Checks that each Studio has the packages of this machine, as far as its set-up recorded them.

    Args:
        project: The project's folder.
        studios: Task -> its Studio.
        api: The platform's Studios.

    Raises:
        PreflightError: Names each package that differs, and what to do.
    """
    here, locks = package_versions(project), lock_hashes(project)
    for task, studio in studios.items():
        content = api.download(studio, INSTALLED_FILE)
        if content is None:
            continue  # set up by hand: its jobs compare before they do anything
        there = json.loads(content)
        lines = differences(there["packages"], here)
        lines += [
            f"{name}: another one than when the Studio was set up"
            for name in sorted(locks.keys() | there["locks"].keys())
            if locks.get(name) != there["locks"].get(name)
        ]
        if lines:
            more = [f"and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
            raise PreflightError(
                f"Studio {studio.name} has other packages than this machine, so its results would not be those of the "
                "run:\n  " + "\n  ".join(lines[:_MOST_LINES] + more) + "\nNothing was started. "
                f"'kedro compute studios create {task}' installs those of this machine; install those of the Studio "
                "here instead, or set code.check_packages: false in compute.yml."
            )
