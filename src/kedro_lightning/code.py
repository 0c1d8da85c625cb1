"""The code as it is here, brought to the rented machine: a bundle of the working tree, or a commit that is pushed."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .config import CodeSettings, ComputeConfig
from .errors import PreflightError
from .packages import PACKAGES_FILE, packages_json

if TYPE_CHECKING:
    from .platform.studios import StudiosApi, StudioView

_LARGEST_BUNDLE_MEGABYTES = 200


@dataclass(frozen=True)
class Bundle:
    """Files in one archive, named by its content."""

    content: bytes
    sha256: str

    @property
    def place(self) -> str:
        """Where it lies among the files of a Studio."""
        return f".kedro-compute/bundles/{self.sha256[:16]}.tar.gz"


@dataclass(frozen=True)
class Source:
    """Where the rented machine finds the code: a bundle among its Studio's files, or a repository and a commit.

    ``packages`` is what a bundle holds as ``PACKAGES_FILE`` and a commit does not: the versions of the run.
    """

    bundle: Bundle | None = None
    repository: str = ""
    commit: str = ""
    packages: str = ""

    @property
    def version(self) -> str:
        """What identifies this code."""
        return f"sha256:{self.bundle.sha256}" if self.bundle else f"git:{self.commit}"


def make_bundle(project: Path, settings: CodeSettings, data_folders: Sequence[str] = ()) -> Bundle:
    """Packs the code, the configuration and small input data of a project.

    The same files give the same bytes. Credentials are left out by pattern, and the policy of patterns is in
    ``code.exclude``; of code, links and what git ignores are left out as well. Data are seldom in git.

    Args:
        project: The project's folder.
        settings: What to pack.
        data_folders: Folders that only feed nodes.

    Raises:
        PreflightError: The archive would be too large to send with every change of the code.
    """
    ignored = _ignored(project)
    code = [
        name
        for name in _files(project, settings.include, settings.exclude)
        if name not in ignored and not (project / name).is_symlink()
    ]
    names = sorted({*code, *_files(project, data_folders, settings.exclude, links=True)})
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in names:
            _add(archive, name, (project / name).read_bytes(), (project / name).stat().st_mode & 0o755)
        _add(archive, PACKAGES_FILE, packages_json(project).encode(), 0o644)
    content = buffer.getvalue()
    if len(content) > _LARGEST_BUNDLE_MEGABYTES * 1_000_000:
        raise PreflightError(
            f"compute: code.include and data.bundled: {len(content) / 1e6:.0f} MB to send, more than "
            f"{_LARGEST_BUNDLE_MEGABYTES} MB. Keep data on a storage that every machine reaches (data.shared)."
        )
    return Bundle(content, hashlib.sha256(content).hexdigest())


def pushed_commit(project: Path, data_folders: Sequence[str] = ()) -> tuple[str, str]:
    """Returns the address of the repository and the commit that is checked out, which must be all there is.

    Args:
        project: The project's folder.
        data_folders: Folders that only feed nodes; they must be in the commit, too.

    Raises:
        PreflightError: There is no repository, something is not committed, or the commit is on no remote.
    """
    remote = _git(project, "remote", "get-url", "origin")
    commit = _git(project, "rev-parse", "HEAD")
    if commit is None or remote is None:
        raise PreflightError(f"compute: code.mode: git: {project} is no git repository with a remote 'origin'.")
    if _git(project, "status", "--porcelain", "--untracked-files=normal"):
        raise PreflightError(
            "compute: code.mode: git: there are changes that are not committed, so the rented machine would run other "
            "code. Commit and push them, or set code.mode: bundle."
        )
    for folder in data_folders:
        if _git(project, "ls-files", "--others", "--ignored", "--exclude-standard", "--", folder):
            raise PreflightError(
                f"compute: code.mode: git: {folder} (data.bundled) has files that git ignores, so the rented machine "
                "would not have them. Commit them, keep them on a storage that every machine reaches, or set "
                "code.mode: bundle."
            )
    if not _git(project, "branch", "--remotes", "--contains", commit):
        raise PreflightError(f"compute: code.mode: git: commit {commit[:12]} is not pushed to {_public(remote)}.")
    if remote != _public(remote):
        raise PreflightError(
            "compute: code.mode: git: the address of 'origin' holds a password or a token; take it out."
        )
    return remote, commit


def bring_code(
    project: Path,
    config: ComputeConfig,
    api: StudiosApi,
    studios: Iterable[StudioView],
    commit: tuple[str, str] | None = None,
) -> Source:
    """Puts a bundle of the code among the files of Studios, unless a pushed commit says it all."""
    if commit is not None:
        return Source(None, *commit, packages=packages_json(project))
    bundle = make_bundle(project, config.code, config.data.bundled)
    for studio in {studio.id: studio for studio in studios}.values():
        api.upload(studio, bundle.content, bundle.place)
    return Source(bundle)


def _files(project: Path, wanted: Iterable[str], excluded: Sequence[str], *, links: bool = False) -> Iterator[str]:
    for name in wanted:
        start = project / name
        folders = os.walk(start, followlinks=links)
        files = (Path(folder, file) for folder, _, names in folders for file in names)
        for path in files if start.is_dir() else [start]:
            relative = PurePosixPath(path.relative_to(project).as_posix())
            if path.is_file() and not _matches(relative, excluded):
                yield relative.as_posix()


def _matches(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    text = path.as_posix()
    for pattern in patterns:
        plain = pattern.removeprefix("**/")
        if fnmatchcase(text, pattern) or fnmatchcase(text, plain):
            return True
        if pattern.startswith("**/") and fnmatchcase(text, f"*/{plain}"):
            return True
    return False


def _ignored(project: Path) -> set[str]:
    listed = _git(project, "ls-files", "--others", "--ignored", "--exclude-standard", "-z")
    return set(listed.split("\0")) if listed else set()


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _public(address: str) -> str:
    scheme, found, rest = address.partition("://")
    # Of the web, also what stands there alone is a token as a rule; of SSH it is the name of an account.
    secret = ":" in rest.partition("@")[0] or (scheme.lower() in ("http", "https") and "@" in rest.partition("/")[0])
    return f"{scheme}://{rest.rpartition('@')[2]}" if found and "@" in rest and secret else address


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), mode, 0
    archive.addfile(entry, io.BytesIO(content))
