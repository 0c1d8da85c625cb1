"""``kedro peek``: what the catalog holds; of each entry that is named schema, size, head, hash and origin."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from kedro.framework.cli.utils import CONTEXT_SETTINGS, env_option

from spelling_transfer.commands.errors import one_clear_error
from spelling_transfer.commands.project import json_option, load_context, print_json
from spelling_transfer.commands.streams import printable

if TYPE_CHECKING:
    from kedro.framework.context import KedroContext
    from kedro.io import AbstractDataset, DataCatalog

_HELP = """Show what datasets hold: schema, size, first rows, hash, and where they come from.

DATASET is a name of the catalog, or a parameter such as params:study. Without a name, list all datasets: what is there,
how fresh it is, its size, and the command that makes it.

\b
Examples:
  kedro peek
  kedro peek words examples
  kedro peek scores --rows=20
  kedro peek trials --env=qwen3_4b --json
  kedro peek scores --history
  kedro peek --catalog-schema > catalog.schema.json
"""

_CELL = 40
_REASONS = 3
"""So many reasons of an old dataset are named."""


def _print_catalog_schema(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from spelling_transfer.storage.catalog_schema import catalog_schema

        print_json(catalog_schema())
        context.exit()


@click.command("peek", help=_HELP, context_settings=CONTEXT_SETTINGS)
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
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
def peek(datasets: tuple[str, ...], rows: int, history: bool, as_json: bool, env: str | None) -> None:
    """Shows catalog entries."""
    with one_clear_error(env=env):
        if history and not datasets:
            raise click.UsageError("--history is of a dataset: name one.")
        context = load_context(env)
        if not datasets:
            _list(context, env, as_json)
            return
        catalog = cast("DataCatalog", context.catalog)  # made anew each time it is asked for
        for name in datasets:
            _check_name(name, catalog)
        saves = _saves(context)
        if history:
            reports = [describe_history(name, rows, catalog, saves.get(name, [])) for name in datasets]
        else:
            stale = _stale(datasets, context, catalog)
            reports = [
                describe_dataset(name, rows, catalog, saves.get(name, []), stale.get(name, [])) for name in datasets
            ]
        if as_json:
            print_json(reports[0] if len(reports) == 1 else reports)
            return
        for number, report in enumerate(reports):
            if number:
                click.echo()
            if history:
                _print_history(report)
            else:
                _print(report, env)


def _list(context: KedroContext, env: str | None, as_json: bool) -> None:
    from kedro.framework.project import pipelines

    from spelling_transfer.commands.peek_list import list_datasets, print_list

    lines = list_datasets(context, pipelines, env)
    if as_json:
        print_json([line.document() for line in lines])
    else:
        print_list(lines, env)


def describe_dataset(
    name: str, rows: int, catalog: DataCatalog, saves: Sequence[dict[str, Any]], stale: list[str]
) -> dict[str, Any]:
    """Returns everything about a catalog entry as plain values.

    Args:
        name: A dataset or parameter.
        rows: How many rows, entries or lines of its content to return.
        catalog: The project's catalog.
        saves: The saves of it on record, the latest first.
        stale: Why the node that makes it would have to run again.

    Raises:
        DatasetError: The entry was never made, or its file is damaged.
    """
    from spelling_transfer.commands.peek_list import MADE_BY, stored_of

    dataset = catalog[name]
    made_by, used_by = _origin(name)
    metadata = getattr(dataset, "metadata", None) or {}
    stored = stored_of(dataset)
    return {
        "name": name,
        "type": type(dataset).__name__,
        "layer": metadata.get("kedro-viz", {}).get("layer"),
        "path": stored.path,
        "bytes": stored.bytes,
        "modified": stored.modified.isoformat(timespec="seconds") if stored.modified else None,
        **_saved(dataset, saves),
        "stale": stale if stored.exists else [],
        "made_by": made_by or [str(each) for each in [metadata.get(MADE_BY)] if each],
        "made_by_others": metadata.get(MADE_BY),
        "used_by": used_by,
        **_content(catalog, name, dataset, rows),
    }


def describe_history(name: str, rows: int, catalog: DataCatalog, saves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the latest saves of a dataset as plain values, and which of them is what is there now.

    Args:
        name: A dataset.
        rows: How many saves to return.
        catalog: The project's catalog.
        saves: All on record, the latest first.

    Raises:
        DatasetError: The storage cannot be read.
    """
    from spelling_transfer.storage.history import describe_content

    now = describe_content(catalog[name])
    return {
        "name": name,
        "saves": len(saves),
        "history": [{**entry, "is_there_now": now is not None and entry["content"] == now} for entry in saves[:rows]],
        **_kept_rows(catalog, name),
    }


def _kept_rows(catalog: DataCatalog, name: str) -> dict[str, Any]:
    """Returns where the rows of a dataset came from, if its metadata say in which table they are kept."""
    kept_in = (getattr(catalog[name], "metadata", None) or {}).get("kept_in")
    if kept_in is None or not catalog.exists(name):
        return {}
    from spelling_transfer.evaluation.kept_answers import origins

    rows = origins(catalog.load(name), catalog.load(kept_in).read())
    return {"kept_in": kept_in, "rows": rows.to_dict(orient="records")}


def _saves(context: KedroContext) -> dict[str, list[dict[str, Any]]]:
    """Returns the saves on record by dataset, the latest first."""
    from spelling_transfer.storage.history import read_history, storage_root_of

    saves = read_history(storage_root_of(context) or "data", Path(context.project_path))
    return {name: found[::-1] for name, found in saves.items()}


def _saved(dataset: AbstractDataset[Any, Any], saves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the hash of what is there and the latest save of just that; nothing for what is no file."""
    from spelling_transfer.storage.history import describe_content

    content = describe_content(dataset)
    if content is None:
        return {"hash": None, "saved": None}
    keys = ("saved_at", "by", "run_id", "node")
    saved = next((each for each in saves if each["content"] == content), None)
    return {
        "hash": content.get("sha256") or content.get("etag"),
        "saved": None if saved is None else {key: saved[key] for key in keys},
    }


def _stale(names: Sequence[str], context: KedroContext, catalog: DataCatalog) -> dict[str, list[str]]:
    """Returns why the nodes that make some datasets would have to run again, as `kedro peek` lists it, by dataset."""
    from kedro.framework.project import pipelines
    from kedro.pipeline import Pipeline

    from spelling_transfer.storage.freshness import find_stale

    everything: Pipeline = sum(pipelines.values(), Pipeline([]))
    makers = {name: node.name for node in everything.nodes for name in node.outputs if name in names}
    if not makers:
        return {}
    # All at once: each look reads the whole record of past runs.
    wanted = everything.to_nodes(*dict.fromkeys(makers.values()))
    found = find_stale(context, catalog, wanted)
    return {name: found.get(maker, []) for name, maker in makers.items()}


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


def _content(catalog: DataCatalog, name: str, dataset: AbstractDataset[Any, Any], rows: int) -> dict[str, Any]:
    # A dataset that can say what it holds without loading it has this method.
    describe = getattr(dataset, "describe_content", None)
    if describe is not None and dataset.exists():
        return dict(describe(rows))
    return _describe_value(catalog.load(name), rows)


def _describe_value(value: Any, rows: int) -> dict[str, Any]:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, str):
        lines = value.splitlines()
        return {"lines": len(lines), "schema": {"lines": "str"}, "head": lines[:rows]}
    if isinstance(value, dict):
        schema = {str(key): type(entry).__name__ for key, entry in value.items()}
        return {"entries": len(value), "schema": schema, "head": dict(list(value.items())[:rows])}
    if isinstance(value, list):
        schema = {"entries": type(value[0]).__name__ if value else "none"}
        return {"entries": len(value), "schema": schema, "head": value[:rows]}
    if (pandas := sys.modules.get("pandas")) is not None and isinstance(value, pandas.DataFrame):
        schema = {str(column): str(dtype) for column, dtype in value.dtypes.items()}
        return {"rows": len(value), "schema": schema, "head": value.head(rows).to_dict(orient="records")}
    if (path := getattr(value, "path", None)) is not None and Path(path).is_dir():
        files = sorted(file for file in Path(path).rglob("*") if file.is_file())
        return {"files": len(files), "schema": {str(file.relative_to(path)): file.stat().st_size for file in files}}
    return {"schema": {"type": type(value).__name__}, "head": repr(value)[:1000]}


def _print_history(report: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    saves = "once" if report["saves"] == 1 else f"{report['saves']} times"
    console.print(f"[bold]{report['name']}[/bold]  saved {saves} on record")
    for entry in report["history"]:
        there = "  (current)" if entry["is_there_now"] else ""
        console.print(printable(f"{entry['saved_at']}  {entry['by']}{there}"), markup=False)
        console.print(f"  run      {entry['run_id']}, node {entry['node']}, version {entry['version']}", markup=False)
        console.print(f"  content  {_content_line(entry['content'])}", markup=False)
        for number, (name, facts) in enumerate(entry["inputs"].items()):
            console.print(f"  {'from' if number == 0 else '':<8} {name}  {_content_line(facts)}", markup=False)
    for row in report.get("rows", []):
        arm = row["arm"] if row["seed"] < 0 else f"{row['arm']} (seed {row['seed']})"
        origin = "not on record"
        if row["run_id"]:
            origin = f"{row['first']} to {row['last']}, run {row['run_id']}, {row['by']}, {row['device']}"
        console.print(f"{row['n']:,} answers of {arm}: {origin}", markup=False)


def _content_line(facts: dict[str, Any]) -> str:
    tag = str(facts.get("sha256") or facts.get("etag") or facts.get("modified") or "")
    size = f"{facts['size_bytes']:,} bytes  " if "size_bytes" in facts else ""
    return f"{size}{tag[:12]}".rstrip()


def _saved_line(report: dict[str, Any]) -> str | None:
    if report["saved"] is None:
        if report["hash"] is None or not report["made_by"] or report["made_by"] == [report["made_by_others"]]:
            return None
        return "not on record: no recorded run saved this version"
    return "{saved_at} by {by}, run {run_id}, node {node}".format(**report["saved"])


def _print(report: dict[str, Any], env: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    from spelling_transfer.commands.peek_list import again_command

    console = Console(highlight=False)
    console.print(f"[bold]{report['name']}[/bold]  {report['type']}", soft_wrap=True)
    facts: dict[str, str | None] = {
        "file": report["path"],
        "size": f"{report['bytes']:,} bytes" if report["bytes"] is not None else None,
        "modified": report["modified"],
        "hash": report["hash"],
        "saved": _saved_line(report),
        "old": f"{why}: '{again_command(env)}' makes it again"
        if (why := ", ".join(report["stale"][:_REASONS]))
        else None,
        "layer": report["layer"],
        "made by": ", ".join(report["made_by"]) or "nothing here: it is an input",
        "used by": ", ".join(report["used_by"]) or "nothing",
        **{key: f"{report[key]:,}" for key in ("rows", "entries", "lines", "files", "traces") if key in report},
        "title": report.get("title"),
    }
    for key, value in facts.items():
        if value is not None:
            console.print(f"  {key:<9} {printable(value)}", soft_wrap=True, markup=False)
    head = report.get("head")
    rows = head if isinstance(head, list) and all(isinstance(row, dict) for row in head) else []
    # One line a column, first rows beside it: wide tables stay readable in a narrow terminal.
    table = Table(box=None)
    table.add_column("name", no_wrap=True, min_width=max(map(len, map(str, report["schema"])), default=0))
    for heading in ("type", *(f"row {number}" for number in range(1, len(rows) + 1))):
        table.add_column(heading)
    for key, value in report["schema"].items():
        cells = (str(key), str(value), *(str(row.get(key))[:_CELL] for row in rows))
        table.add_row(*map(printable, cells))
    console.print(table, markup=False)
    if isinstance(head, str):
        console.print("\n".join(map(printable, head.splitlines())), markup=False)
    elif head and not rows:
        console.print_json(json.dumps(head, default=str))
