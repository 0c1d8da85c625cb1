"""``kedro peek``: schema, size, head and origin of one catalog entry."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import one_clear_error
from spelling_transfer.commands.project import json_option, load_catalog, print_json

if TYPE_CHECKING:
    from kedro.io import AbstractDataset, DataCatalog

_HELP = """Show what one dataset holds: schema, size, first rows, and where it comes from.

DATASET is a name of the catalog, or a parameter such as params:study.

\b
Examples:
  kedro peek words
  kedro peek scores --rows=20
  kedro peek trials --env=qwen3_4b --json
  kedro peek scores --history
  kedro peek --catalog-schema > catalog.schema.json
"""

_CELL = 40


def _print_catalog_schema(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from spelling_transfer.storage.catalog_schema import catalog_schema

        print_json(catalog_schema())
        context.exit()


@click.command("peek", help=_HELP, context_settings=CONTEXT_SETTINGS)
@click.argument("dataset")
@click.option("--rows", "-n", type=click.IntRange(0, 1000), default=5, show_default=True, help="Rows to show.")
@click.option("--history", is_flag=True, help="Who saved it, when, in which run, and from what, the latest first.")
@json_option
@click.option(
    "--catalog-schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_catalog_schema,
    help="Print the JSON Schema of catalog files with this project's dataset classes, and stop.",
)
@env_option
def peek(dataset: str, rows: int, history: bool, as_json: bool, env: str | None) -> None:
    """Shows one catalog entry."""
    with one_clear_error(env=env):
        report = describe_history(dataset, rows, env) if history else describe_dataset(dataset, rows, env)
        if as_json:
            print_json(report)
        elif history:
            _print_history(report)
        else:
            _print(report)


def describe_dataset(name: str, rows: int, env: str | None = None) -> dict[str, Any]:
    """Returns everything about a catalog entry as plain values.

    Args:
        name: A dataset or parameter.
        rows: How many rows, entries or lines of its content to return.
        env: The environment; ``None`` is Kedro's default.

    Raises:
        click.BadParameter: The catalog has no such entry.
        DatasetError: The entry was never made, or its file is damaged.
    """
    catalog = load_catalog(env)
    _check_name(name, catalog)
    dataset = catalog[name]
    made_by, used_by = _origin(name)
    metadata = getattr(dataset, "metadata", None) or {}
    return {
        "name": name,
        "type": type(dataset).__name__,
        "layer": metadata.get("kedro-viz", {}).get("layer"),
        **_file_of(dataset),
        "made_by": made_by,
        "used_by": used_by,
        **_content(catalog, name, dataset, rows),
    }


def describe_history(name: str, rows: int, env: str | None = None) -> dict[str, Any]:
    """Returns the latest saves of a dataset as plain values, and which of them is what is there now.

    Args:
        name: A dataset.
        rows: How many saves to return.
        env: The environment; ``None`` is Kedro's default.

    Raises:
        click.BadParameter: The catalog has no such entry.
        DatasetError: The storage cannot be read.
    """
    from kedro.framework.session import KedroSession

    from spelling_transfer.storage.history import describe_content, read_history

    context = KedroSession.create(env=env, save_on_close=False).load_context()
    catalog = cast("DataCatalog", context.catalog)
    _check_name(name, catalog)
    root = str(context.config_loader["globals"].get("storage_root", "data"))
    entries = read_history(name, root, Path(context.project_path))
    now = describe_content(catalog[name])
    return {
        "name": name,
        "saves": len(entries),
        "history": [{**entry, "is_there_now": now is not None and entry["content"] == now} for entry in entries[:rows]],
    }


def _check_name(name: str, catalog: DataCatalog) -> None:
    from kedro.utils import get_close_matches

    if name not in catalog:
        matches = get_close_matches(name, [entry for entry in catalog if not entry.startswith("params:")])
        closest = " or ".join(map(repr, matches))
        hint = f"Did you mean {closest}?" if matches else "'kedro catalog describe-datasets' names all."
        raise click.BadParameter(f"there is no dataset {name!r}. {hint}", param_hint="DATASET")


def _origin(name: str) -> tuple[list[str], list[str]]:
    from kedro.framework.project import pipelines

    nodes = {node.name: node for key, pipeline in pipelines.items() if key != "__default__" for node in pipeline.nodes}
    return (
        sorted(key for key, node in nodes.items() if name in node.outputs),
        sorted(key for key, node in nodes.items() if name in node.inputs),
    )


def _file_of(dataset: AbstractDataset[Any, Any]) -> dict[str, Any]:
    import fsspec
    from kedro.io import AbstractVersionedDataset

    if not isinstance(dataset, AbstractVersionedDataset) or not dataset.exists():
        return {"path": None, "bytes": None, "modified": None}
    path = str(dataset._get_load_path())
    protocol = getattr(dataset, "_protocol", "file")
    fs = getattr(dataset, "_fs", None) or fsspec.filesystem("file")
    info = fs.info(path)
    modified = info.get("LastModified") or info.get("mtime")
    if isinstance(modified, float):
        modified = datetime.fromtimestamp(modified, tz=UTC)
    return {
        "path": path if protocol == "file" else f"{protocol}://{path}",
        "bytes": fs.du(path),
        "modified": modified.isoformat(timespec="seconds") if modified else None,
    }


def _content(catalog: DataCatalog, name: str, dataset: AbstractDataset[Any, Any], rows: int) -> dict[str, Any]:
    from spelling_transfer.storage import ParquetDataset

    if isinstance(dataset, ParquetDataset) and dataset.exists():
        return dataset.describe_content(rows)
    return _describe_value(catalog.load(name), rows)


def _describe_value(value: Any, rows: int) -> dict[str, Any]:
    import pandas as pd
    from pydantic import BaseModel

    from spelling_transfer.models.folder import ModelFolder

    if isinstance(value, pd.DataFrame):
        schema = {str(column): str(dtype) for column, dtype in value.dtypes.items()}
        return {"rows": len(value), "schema": schema, "head": value.head(rows).to_dict(orient="records")}
    if isinstance(value, ModelFolder):
        files = sorted(file for file in value.path.rglob("*") if file.is_file())
        return {
            "rows": len(files),
            "schema": {str(file.relative_to(value.path)): file.stat().st_size for file in files},
        }
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, str):
        lines = value.splitlines()
        return {"rows": len(lines), "schema": {"lines": "str"}, "head": [line[:200] for line in lines[:rows]]}
    if isinstance(value, dict):
        schema = {str(key): type(entry).__name__ for key, entry in value.items()}
        return {"rows": len(value), "schema": schema, "head": dict(list(value.items())[:rows])}
    if isinstance(value, list):
        return {
            "rows": len(value),
            "schema": {"entries": type(value[0]).__name__ if value else "none"},
            "head": value[:rows],
        }
    return {"rows": None, "schema": {"type": type(value).__name__}, "head": repr(value)[:1000]}


def _print_history(report: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{report['name']}[/bold]  saved {report['saves']} times on record")
    for entry in report["history"]:
        there = "  (what is there now)" if entry["is_there_now"] else ""
        console.print(f"{entry['saved_at']}  {entry['by']}{there}", markup=False)
        console.print(f"  run      {entry['run_id']}, node {entry['node']}, version {entry['version']}", markup=False)
        console.print(f"  content  {_content_line(entry['content'])}", markup=False)
        for number, (name, facts) in enumerate(entry["inputs"].items()):
            console.print(f"  {'from' if number == 0 else '':<8} {name}  {_content_line(facts)}", markup=False)


def _content_line(facts: dict[str, Any]) -> str:
    tag = str(facts.get("sha256") or facts.get("etag") or facts.get("modified") or "")
    size = f"{facts['size_bytes']:,} bytes  " if "size_bytes" in facts else ""
    return f"{size}{tag[:12]}".rstrip()


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{report['name']}[/bold]  {report['type']}", soft_wrap=True)
    facts = {
        "file": report["path"],
        "size": f"{report['bytes']:,} bytes" if report["bytes"] is not None else None,
        "modified": report["modified"],
        "layer": report["layer"],
        "made by": ", ".join(report["made_by"]) or "nothing here: it is an input",
        "used by": ", ".join(report["used_by"]) or "nothing",
        "rows": f"{report['rows']:,}" if report["rows"] is not None else None,
    }
    for key, value in facts.items():
        if value is not None:
            console.print(f"  {key:<9} {value}", soft_wrap=True, markup=False)
    head = report.get("head")
    rows = head if isinstance(head, list) and all(isinstance(row, dict) for row in head) else []
    # One line a column, first rows beside it: wide tables stay readable in a narrow terminal.
    table = Table("name", "type", *(f"row {number}" for number in range(1, len(rows) + 1)), box=None)
    for key, value in report["schema"].items():
        table.add_row(str(key), str(value), *(str(row.get(key))[:_CELL] for row in rows))
    console.print(table)
    if isinstance(head, str):
        console.print(head, markup=False)
    elif head and not rows:
        console.print_json(json.dumps(head, default=str))
