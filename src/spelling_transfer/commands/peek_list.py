"""What ``kedro peek`` lists: every dataset, whether it is there, how fresh, its size, and the command that makes it.

Whether a dataset is what a run would make today is told by the hashes on record; nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import AbstractDataset, DataCatalog
    from kedro.pipeline import Pipeline

_AT_ONCE = 16
"""Questions to an object store at the same time."""
_BEFORE_NOTE = 29 + 9 + 11 + 3 * 2
"""Columns of the terminal before a dataset's note."""
MADE_BY = "made_by"
"""Key of a dataset's ``metadata`` that says who makes what no node makes."""


@dataclass(frozen=True)
class Stored:
    """What the storage says of a dataset.

    Attributes:
        exists: Whether it is there.
        path: Its file or folder, a URL where it is on an object store; ``None`` for one that is no file.
        bytes: Its size, of a folder that of all files in it.
        modified: When it was last written, of a folder the latest of its files.
    """

    exists: bool
    path: str | None = None
    bytes: int | None = None
    modified: datetime | None = None


@dataclass(frozen=True)
class Listed:
    """A line of the list.

    Attributes:
        name: The dataset.
        stored: What the storage says of it.
        layer: Its layer in Kedro-Viz.
        made_by: The node that makes it, or who else does; empty for an input.
        pipeline: The pipeline of that node.
        command: What makes it again; empty for an input.
        stale: Why the node would have to run again; empty where what is there is what it would make today.
    """

    name: str
    stored: Stored
    layer: str | None
    made_by: str = ""
    pipeline: str = ""
    command: str = ""
    stale: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Returns the line as plain values."""
        values = asdict(self)
        stored = values.pop("stored")
        modified = self.stored.modified
        stored["modified"] = modified.isoformat(timespec="seconds") if modified else None
        return {"name": values.pop("name"), **stored, **values}


def list_datasets(context: KedroContext, pipelines: Mapping[str, Pipeline], env: str | None) -> list[Listed]:
    """Returns a line for each dataset of the catalog: inputs first, then those of each pipeline in turn.

    Args:
        context: The project.
        pipelines: The project's pipelines by name.
        env: The environment, for the commands.

    Raises:
        DatasetError: The storage cannot be reached.
    """
    from kedro.io.core import is_parameter
    from kedro.pipeline import Pipeline

    from spelling_transfer.storage.freshness import find_stale

    catalog = cast("DataCatalog", context.catalog)
    names = sorted(name for name in catalog if not is_parameter(name))
    # Kedro makes a dataset when it is first asked for, and not in several threads at once.
    datasets = {name: catalog[name] for name in names}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        stored = dict(zip(names, pool.map(stored_of, datasets.values()), strict=True))
    makers = {
        output: (key, node)
        for key, pipeline in pipelines.items()
        if key != "__default__"
        for node in pipeline.nodes
        for output in node.outputs
    }
    everything: Pipeline = sum(pipelines.values(), Pipeline([]))
    stale = find_stale(context, catalog, everything)
    in_env = _in_env(env)
    lines = []
    for name in names:
        metadata = getattr(datasets[name], "metadata", None) or {}
        layer = metadata.get("kedro-viz", {}).get("layer")
        if name not in makers:
            other = str(metadata.get(MADE_BY, ""))
            command = f"kedro run{in_env}" if other and not other.startswith("kedro ") else other
            lines.append(Listed(name, stored[name], layer, made_by=other, command=command))
            continue
        key, node = makers[name]
        why = stale.get(node.name, []) if stored[name].exists else []
        command = f"kedro run --pipelines={key}{in_env}"
        lines.append(Listed(name, stored[name], layer, node.name, key, command, why))
    order = {key: place for place, key in enumerate(["", *pipelines])}
    made = {name: place for place, name in enumerate(makers)}
    return sorted(
        lines,
        key=lambda line: (bool(line.made_by) and not line.pipeline, order[line.pipeline], made.get(line.name, 0)),
    )


def stored_of(dataset: AbstractDataset[Any, Any]) -> Stored:
    """Asks the storage for a dataset's size and time, without loading it.

    Raises:
        DatasetError: The storage cannot be reached.
    """
    import fsspec
    from kedro.io import AbstractVersionedDataset

    # What checks its transport and explains a store that does not answer is the dataset's own `exists`.
    if not dataset.exists():
        return Stored(exists=False)
    if isinstance(dataset, AbstractVersionedDataset):
        path = dataset._get_load_path().as_posix()
    elif getattr(dataset, "_filepath", None) is not None:
        path = str(dataset._filepath)  # type: ignore[attr-defined]
    else:
        return Stored(exists=True)
    protocol = getattr(dataset, "_protocol", "file")
    filesystem = getattr(dataset, "_fs", None) or fsspec.filesystem("file")
    info = filesystem.info(path)
    files = [info]
    if info["type"] == "directory":
        files = list(filesystem.find(path, detail=True).values())
    return Stored(
        exists=True,
        path=path if protocol == "file" else f"{protocol}://{path}",
        bytes=sum(int(file["size"]) for file in files),
        modified=max(filter(None, map(_time_of, files)), default=None),
    )


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """Returns how long ago something was, in one unit."""
    if moment is None:
        return ""
    seconds = int(((now or datetime.now(UTC)) - moment).total_seconds())
    for unit, length in (("day", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            n = seconds // length
            return f"{n} {unit}{'s' if unit == 'day' and n > 1 else ''} ago"
    return "just now"


def size(n_bytes: int | None) -> str:
    """Returns a size in kB or MB, whole numbers; the smallest is 1 kB."""
    if n_bytes is None:
        return ""
    return f"{max(round(n_bytes / 1e3), 1):,} kB" if n_bytes < 1e6 else f"{n_bytes / 1e6:,.1f} MB"


def print_list(lines: list[Listed], env: str | None) -> None:
    """Prints the lines as tables that fit 80 columns, one for each pipeline, headed by the command that makes them.

    Args:
        lines: What is listed.
        env: The environment, for the command that makes old ones again.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for heading, group in _groups(lines):
        console.print(f"[bold]{heading}[/bold]", soft_wrap=True)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=29)
        table.add_column(justify="right", width=9)
        table.add_column(width=11)
        table.add_column(no_wrap=True, max_width=console.width - _BEFORE_NOTE, overflow="ellipsis")
        for line in group:
            stored = line.stored
            note = "not there" if not line.made_by else "not made yet"
            if stored.exists:
                note = "" if stored.path else "no file of its own"
            if line.stale:
                note = f"[yellow]old: {_short(line.stale[0])}[/yellow]"
            table.add_row(f"  {line.name}", size(stored.bytes), age(stored.modified), note)
        console.print(table)
    there = sum(line.stored.exists for line in lines)
    old = sum(bool(line.stale) for line in lines)
    again = f" {old} of them are old: '{again_command(env)}' makes them again." if old else ""
    console.print(f"{there} of {len(lines)} datasets are there.{again} 'kedro peek NAME' shows one.", style="dim")


def again_command(env: str | None) -> str:
    """Returns the command that makes again what is old in an environment."""
    return f"kedro run --only-stale{_in_env(env)}"


def _in_env(env: str | None) -> str:
    return f" --env={env}" if env else ""


def _groups(lines: list[Listed]) -> Iterator[tuple[str, list[Listed]]]:
    groups: dict[str, list[Listed]] = {}
    for line in lines:
        who = line.pipeline or line.made_by or "inputs"
        groups.setdefault(f"{who}: {line.command}" if line.command not in ("", who) else who, []).append(line)
    yield from groups.items()


def _short(reason: str) -> str:
    _, follows, node = reason.partition("follows ")
    return f"after {node.rpartition('.')[2]}" if follows else reason.removeprefix("params:")


def _time_of(info: Mapping[str, Any]) -> datetime | None:
    moment = info.get("LastModified") or info.get("mtime")
    if isinstance(moment, int | float):
        return datetime.fromtimestamp(moment, tz=UTC)
    return moment if isinstance(moment, datetime) else None
