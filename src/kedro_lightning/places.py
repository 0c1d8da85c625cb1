"""Where datasets are kept, and whether a rented machine reaches these places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import ComputeConfig, DataPlace
from .errors import PreflightError
from .node_jobs import NodeJob, datasets_across

if TYPE_CHECKING:
    from kedro.config import AbstractConfigLoader
    from kedro.io import CatalogProtocol
    from kedro.pipeline import Pipeline

_GLOBALS = "globals.yml"
_HERE_ALONE = "is a file of this machine"
_KEYS = ("filepath", "path", "folder", "file_path", "database", "url", "filename")


@dataclass(frozen=True)
class Place:
    """A dataset: whether it outlives the process, where it is, whether each run writes another version."""

    name: str
    kept: bool
    location: str
    versioned: bool

    @property
    def is_url(self) -> bool:
        """Whether it is no file of this machine."""
        return "://" in self.location and not self.location.startswith("file://")


def place_of(name: str, catalog: CatalogProtocol[Any, Any]) -> Place:
    """Returns what is known of a dataset without loading it."""
    dataset = catalog.get(name, fallback_to_runtime_pattern=True)
    inner = getattr(dataset, "_dataset", dataset)  # a cache in front of a dataset
    kept = not getattr(inner, "_EPHEMERAL", False) and type(inner).__name__ != "MemoryDataset"
    return Place(name, kept, _location(inner), getattr(inner, "_version", None) is not None)


def check_places(
    pipeline: Pipeline,
    jobs: list[NodeJob],
    catalog: CatalogProtocol[Any, Any],
    config: ComputeConfig,
    project: Path,
    folders: list[FolderSetting] | None = None,
) -> None:
    """Checks that everything that crosses machines can be read and written on both.

    Args:
        pipeline: What is run.
        jobs: The jobs.
        catalog: Where the datasets are.
        config: The settings.
        project: The project's folder.
        folders: Settings that are folders; where one of them is all that has to change, it alone is named.

    Raises:
        PreflightError: Names each dataset that cannot, and what to do.
    """
    problems: dict[str, list[str]] = {}
    local: dict[str, Path] = {}
    for job in jobs:
        inputs, outputs = datasets_across(pipeline, job)
        for name in [*inputs, *outputs]:
            place = place_of(name, catalog)
            problem = _problem(place, config, project, written=name in outputs)
            if problem:
                if problem.endswith(_HERE_ALONE):
                    local[name] = project / place.location.removeprefix("file://")
                uses = problems.setdefault(f"{name}: {problem}", [])
                uses.append(f"{'made' if name in outputs else 'read'} by {job.name}")
    if problems and len(local) == len(problems) and (message := _one_setting(local, folders or [])):
        raise PreflightError(message)
    if problems:
        lines = [f"  {problem} [{', '.join(dict.fromkeys(uses))}]" for problem, uses in problems.items()]
        raise PreflightError(
            "\n".join(["These datasets cross machines and cannot:", *lines])
            + "\nKeep them on a storage that both machines reach (s3://…), or name their folder in "
            "data.mounts; what is only read may also travel with the code (data.bundled)."
        )


def _problem(place: Place, config: ComputeConfig, project: Path, *, written: bool) -> str:
    data = config.data
    if not place.kept:
        return "it is kept in memory alone; give it a file in the catalog, or put its nodes into one group"
    if place.versioned:
        return "it is versioned, and each machine would choose a version of its own; put a run id into its path"
    if not place.location:
        return ""  # from an installed package or a hub: the same everywhere
    if place.is_url:
        if is_reached(place.location, data):
            return ""
        return f"{place.location} is not among data.shared in compute.yml ({', '.join(data.shared)})"
    path = Path(place.location.removeprefix("file://"))
    inside = path.relative_to(project) if path.is_relative_to(project) else path
    if not written and any(_below(inside, folder) for folder in (*data.bundled, *data.scratch, *config.code.include)):
        return ""
    if is_reached(str(inside), data) or is_reached(str(path), data):
        return ""
    return f"{inside} {_HERE_ALONE}"


def is_reached(location: str, data: DataPlace) -> bool:
    """Returns whether rented machines reach a URL, or a folder by the path that it has in a job's working folder."""
    if "://" in location:
        return location.startswith(data.shared)
    return any(_below(Path(location), folder) for mount in data.mounts.items() for folder in mount)


def _one_setting(local: dict[str, Path], folders: list[FolderSetting]) -> str:
    """Returns what to change where all datasets that only this machine has are below the folder of one setting."""
    found = {setting_of(path, folders) for path in local.values()}
    setting = found.pop() if len(found) == 1 else None
    if setting is None:
        return ""
    some = ", ".join(sorted(local)[:3]) + (", …" if len(local) > 3 else "")
    return (
        f"{setting.name}: {setting.text!r} is a folder of this machine, and rented machines do not reach it. Set it to "
        f"a place in a bucket of yours, in {setting.file}:\n"
        f"  {setting.name}: s3://YOUR-BUCKET/{setting.folder.name}\n"
        f"or to a folder that both sides see (data.mounts in compute.yml). {len(local)} datasets of this run cross "
        f"machines there: {some}"
    )


def _below(path: Path, folder: str) -> bool:
    return path.is_relative_to(folder.rstrip("/"))


def size_of(place: Place) -> int | None:
    """Returns the bytes of a file or folder of this machine; ``None`` where only a store knows."""
    if not place.location or place.is_url:
        return None
    path = Path(place.location)
    if path.is_file():
        return path.stat().st_size
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return None


def _location(dataset: Any) -> str:
    try:
        described = dict(dataset._describe())
    except Exception:  # noqa: BLE001  (a dataset class of somebody else's)
        described = {}
    protocol = str(getattr(dataset, "_protocol", "") or described.get("protocol") or "")
    for key in _KEYS:
        value = described.get(key) or getattr(dataset, f"_{key}", None)
        if value:
            text = str(value)
            if key not in ("filepath", "path") and "/" not in text and not Path(text).exists():
                continue  # a name, not a place
            if protocol and protocol not in ("file", "local") and "://" not in text:
                return f"{protocol}://{text}"
            return text if "://" in text else str(Path(text))
    return ""


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
        file = source / str(environment) / _GLOBALS
        if file.is_file() and name in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}):
            return f"{source.name}/{environment}/{_GLOBALS}"
    return f"{source.name}/{environments[-1]}/{_GLOBALS}"
