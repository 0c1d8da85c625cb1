"""Reads ``compute.yml`` with the loader of the project, and says plainly what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .config import ComputeConfig
from .errors import SettingsError

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader

KIND = "compute"
_FILES = ["compute.yml", "compute.yaml"]


def load_config(loader: AbstractConfigLoader) -> ComputeConfig:
    """Reads the settings of an environment; single values of ``base`` may be changed without repeating the rest.

    Raises:
        SettingsError: A value is unknown or not allowed; every one is named.
    """
    from kedro.config import MissingConfigException

    patterns = getattr(loader, "config_patterns", None)
    if patterns is not None:
        patterns.setdefault(KIND, list(_FILES))
    strategies = getattr(loader, "merge_strategy", None)
    if strategies is not None:
        strategies.setdefault(KIND, "soft")
    try:
        content: dict[str, Any] = loader[KIND]
    except (MissingConfigException, KeyError):
        return ComputeConfig()
    return parse_config(content, _places(loader))


def load_project_config(project: Path, env: str | None = None) -> ComputeConfig:
    """Reads the settings of the project in a folder, for commands that start no session."""
    return load_config(config_loader(project, env))


def local_secrets(project: Path, env: str | None = None) -> dict[str, str]:
    """Returns the values under ``compute`` in the project's credentials, which are never committed or sent."""
    from kedro.config import MissingConfigException

    found: dict[str, str] = {}
    for each in (env, None):
        try:
            entries = config_loader(project, each)["credentials"].get(KIND, {})
        except MissingConfigException:
            continue
        found = {**{str(name): str(value) for name, value in dict(entries).items()}, **found}
    return found


def config_loader(project: Path, env: str | None) -> Any:
    """Returns the loader of the project in a folder."""
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project)
    return settings.CONFIG_LOADER_CLASS(
        conf_source=str(project / settings.CONF_SOURCE), env=env, **settings.CONFIG_LOADER_ARGS
    )


def parse_config(content: dict[str, Any], place: str = "compute.yml") -> ComputeConfig:
    """Checks the content of the file.

    Raises:
        SettingsError: Names each setting, its value and what is allowed.
    """
    try:
        return ComputeConfig.model_validate(content)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(detail, place) for detail in error.errors(include_url=False))) from None


def _explain(detail: Any, place: str) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if detail["type"] == "extra_forbidden":
        return f"compute: {path}: there is no such setting ({place})."
    if detail["type"] == "value_error":
        return f"compute: {path + ': ' if path else ''}{message} ({place})."
    return f"compute: {path}: {detail['input']!r}: {message[:1].lower()}{message[1:]} ({place})."


def _places(loader: Any) -> str:
    source = Path(str(getattr(loader, "conf_source", "conf")))
    base, env = getattr(loader, "base_env", None), getattr(loader, "env", None)
    files = [source / name / file for name in (env, base) if name for file in _FILES]
    return ", ".join(f"{file.parent.parent.name}/{file.parent.name}/{file.name}" for file in files if file.is_file())
