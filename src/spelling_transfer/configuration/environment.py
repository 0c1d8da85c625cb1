"""Which environments there are; one that is not there is refused, in every command alike."""

from __future__ import annotations

from pathlib import Path

from spelling_transfer.configuration.documents import ConfigurationError


class UnknownEnvironmentError(ConfigurationError):
    """An environment is named that has no folder."""


def check_environment(conf_source: Path, env: str | None, default: str | None) -> None:
    """Refuses an environment that has no folder; the default one need not have any.

    Raises:
        UnknownEnvironmentError: Names those there are.
    """
    if not env or env == default or not conf_source.is_dir() or _is_folder_of(conf_source, env):
        return
    known = sorted(path.name for path in conf_source.iterdir() if path.is_dir() and not path.name.startswith("."))
    raise UnknownEnvironmentError(f"there is no environment {env!r} in {conf_source}. Known: {', '.join(known)}.")


def _is_folder_of(conf_source: Path, env: str) -> bool:
    return Path(env).name == env and env not in (".", "..") and (conf_source / env).is_dir()
