"""Folders that ``globals.yml`` names: where a user changes the place of many datasets at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader

_FILE = "globals.yml"


@dataclass(frozen=True)
class FolderSetting:
    """A setting of ``globals.yml`` that is a folder of this machine, and the file that has it."""

    name: str
    folder: Path
    text: str
    file: str


def folder_settings(loader: AbstractConfigLoader, project: Path) -> list[FolderSetting]:
    """Returns the settings of ``globals.yml`` that are paths; nothing where there is no such file."""
    from kedro.config import MissingConfigException

    try:
        values = dict(loader["globals"])
    except (MissingConfigException, KeyError):
        return []
    found = []
    for name, value in values.items():
        if isinstance(value, str) and value and "://" not in value:
            place = Path(value) if Path(value).is_absolute() else project / value
            found.append(FolderSetting(str(name), place, value, _file_of(str(name), loader)))
    return found


def setting_of(path: Path, settings: list[FolderSetting]) -> FolderSetting | None:
    """Returns the setting below whose folder a path is; the most exact one."""
    around = [setting for setting in settings if path.is_relative_to(setting.folder)]
    return max(around, key=lambda setting: len(setting.folder.parts), default=None)


def _file_of(name: str, loader: AbstractConfigLoader) -> str:
    import yaml

    source = Path(str(getattr(loader, "conf_source", "conf")))
    environments = [getattr(loader, "env", None), getattr(loader, "base_env", None) or "base"]
    for environment in [each for each in environments if each]:
        file = source / str(environment) / _FILE
        if file.is_file() and name in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}):
            return f"{source.name}/{environment}/{_FILE}"
    return f"{source.name}/{environments[-1]}/{_FILE}"
