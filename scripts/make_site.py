"""What ``mkdocs build`` adds to ``docs/``: pages of the root, a reference made from the code, and links between them.

It is a hook of mkdocs.yml (https://www.mkdocs.org/user-guide/configuration/#hooks). Nothing it makes is kept in git.
Where ``kedro viz build`` has left the graph in ``build/``, it becomes a part of the site, at ``graph/``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GRAPH = ROOT / "build" / "index.html"
ROOT_PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_FONTS = re.compile(r"<link\b[^>]*//fonts\.[^>]*>")
_DRAWING = re.compile(r"```mermaid\n(.*?)```\n", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made, and the graph if there is one."""
    from mkdocs.structure.files import File

    for name, source in ROOT_PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text("utf-8")))
    for name, make in REFERENCE.items():
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    for path in sorted(GRAPH.parent.rglob("*")) if GRAPH.is_file() else []:
        name = f"graph/{path.relative_to(GRAPH.parent).as_posix()}"
        if path == GRAPH:  # asks for Google's fonts, and does without
            files.append(File.generated(config, name, content=_FONTS.sub("", path.read_text("utf-8"))))
        elif path.is_file() and path.suffix != ".html":  # the others are parts of its server
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Leads links to where their pages are in the site; what only the repository has is named without a link."""
    name = page.file.src_uri
    here = ROOT if name in ROOT_PAGES else (DOCS / name).parent

    def lead(link: re.Match[str]) -> str:
        image, text, target, anchor = link.groups(default="")
        file = (here / target).resolve()
        place = next((page for page, source in ROOT_PAGES.items() if file == ROOT / source), None)
        if file.is_relative_to(DOCS):
            place = file.relative_to(DOCS).as_posix()
        if place is None:
            return text if file.exists() else link[0]
        return f"{image}[{text}]({'../' * name.count('/')}{place}{anchor})"

    return _DRAWING.sub(draw, _LINK.sub(lead, markdown))


def draw(block: re.Match[str]) -> str:
    """Returns what stands for a drawing: of the rooms a picture, of the pipelines the graph if there is one."""
    if "subgraph row0" in block[1]:
        return house(block[1])
    return "[The graph of the pipelines](graph/index.html)\n" if GRAPH.is_file() else ""


def house(drawing: str) -> str:
    """Returns the picture of the rooms as SVG: Mermaid itself would come from a network.

    Args:
        drawing: What ``scripts/draw_house.py`` writes: rows of rooms as subgraphs, then the arrows between rooms.
    """
    rows = [row.split() for row in re.findall(r"subgraph [^\n]+\n(.*?)\n  end", drawing, re.DOTALL)]
    place = {
        room: (420 + 175 * (column - (len(row) - 1) / 2), 30 + 70 * number)
        for number, row in enumerate(rows)
        for column, room in enumerate(row)
    }
    lines = []
    for one, other in re.findall(r"^  (\w+) --> (\w+)$", drawing, re.MULTILINE):
        (x, y), (to_x, to_y) = place[one], place[other]
        lines.append(f'<path d="M{x} {y + 16} C{x} {y + 50} {to_x} {to_y - 50} {to_x} {to_y - 18}"/>')
    boxes = [
        f'<rect x="{x - 76}" y="{y - 16}" width="152" height="32" rx="5"/><text x="{x}" y="{y + 5}">{room}</text>'
        for room, (x, y) in place.items()
    ]
    return (
        f'<div class="house"><svg role="img" aria-label="The rooms" viewBox="-60 0 960 {70 * len(rows)}">'
        "<style>.house path{fill:none;stroke:currentColor;opacity:.35}.house text{font-size:14px;text-anchor:middle;"
        "fill:currentColor}.house rect{fill:var(--md-code-bg-color);stroke:currentColor}</style>"
        + "".join(lines + boxes) + "</svg></div>\n"
    )  # fmt: skip


# -- the reference -----------------------------------------------------------------------------------------------------


def commands() -> str:
    """Returns the help pages of all commands of the project."""
    from spelling_transfer.cli import LazyCommand, cli
    from spelling_transfer.commands.new import outside

    def pages(command: click.Command, name: str) -> Iterator[str]:
        if isinstance(command, LazyCommand):
            command = command.load()
        context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
        yield f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            for each in command.list_commands(context):
                inner = command.get_command(context, each)
                if inner is not None:
                    yield from pages(inner, f"{name} {each}")

    parts = [page for name in sorted(cli.commands) for page in pages(cli.commands[name], f"kedro {name}")]
    parts += pages(outside.commands["new"], "spelling-transfer new")
    return (
        "# Commands\n\nEach is also there as `spelling-transfer …`, and tells this itself with `--help`.\n\n"
        + "\n".join(parts)
    )


def parameters() -> str:
    """Returns every parameter with its value in ``conf/base``, what is allowed, and what it is for."""
    from kedro.validation.type_extractor import TypeExtractor
    from pydantic import BaseModel

    from spelling_transfer.pipeline_registry import register_pipelines

    values = _base()["parameters"]
    models = TypeExtractor(register_pipelines()).extract_types_from_pipelines()
    parts = ["# Parameters\n", "Set one in `conf/local/parameters.yml`, or for one run: `--params=GROUP.NAME=VALUE`.\n"]
    for name, model in sorted(models.items()):
        if isinstance(model, type) and issubclass(model, BaseModel) and name in values:
            schema = model.model_json_schema()
            rows = [_row(*each) for each in _settings(schema, schema.get("$defs", {}), values[name], "")]
            about = inspect.getdoc(model) or ""
            parts += [f"## {name}\n", about.split("\n\n")[0].replace("``", "`") + "\n"]
            parts.append("\n".join(["| setting | in `base` | allowed | meaning |", "|---|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def datasets() -> str:
    """Returns every dataset of the catalog: its class, its file, and what makes it."""
    from spelling_transfer.pipeline_registry import register_pipelines

    pipeline = register_pipelines()["__default__"]
    made = {output: node.name for node in pipeline.nodes for output in node.outputs}
    rows = [
        "# Datasets\n",
        "`kedro peek NAME` shows what is in one." + " See [the graph](../graph/index.html)." * GRAPH.is_file(),
        "",
        "| dataset | class | file | made by |",
        "|---|---|---|---|",
    ]
    for name, entry in sorted(_base()["catalog"].items()):
        maker = made.get(name) or entry.get("metadata", {}).get("made_by") or "given"
        kind = str(entry["type"]).rpartition(".")[2]
        rows.append(_row(f"`{name}`", kind, f"`{entry['filepath']}`" if entry.get("filepath") else "", maker))
    return "\n".join([*rows, ""])


def statistics() -> str:
    """Returns the functions of ``spelling_transfer.statistics`` with their formulas and sources."""
    from spelling_transfer import statistics as home

    parts = [
        "# Statistics\n",
        (inspect.getdoc(home) or "") + "\n",
        "The measures of each task: [tasks](../tasks.md).\n",
    ]
    for name in home.__all__:
        each = getattr(home, name)
        if inspect.isfunction(each) or inspect.isclass(each):
            text = re.split(r"\n\n(?:Args|Attributes|Returns|Raises|Yields):", inspect.getdoc(each) or "")[0]
            parts.append(f"## `{name}`\n\n{text.replace('``', '`')}\n")
    return "\n".join(parts)


REFERENCE = {"commands": commands, "parameters": parameters, "datasets": datasets, "statistics": statistics}


def _base() -> Any:
    from kedro.framework.startup import bootstrap_project

    from spelling_transfer.commands.project import config_loader

    bootstrap_project(ROOT)
    return config_loader(ROOT, "base")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _settings(
    schema: Mapping[str, Any], known: Mapping[str, Any], value: Any, before: str
) -> Iterator[tuple[str, str, str, str]]:
    for name, field in schema.get("properties", {}).items():
        here = value.get(name, field.get("default")) if isinstance(value, Mapping) else field.get("default")
        inner = known.get(field.get("$ref", "").rpartition("/")[2], field)
        if "properties" in inner:
            yield from _settings(inner, known, here, f"{before}{name}.")
        else:
            shown = "" if here is None else f"`{here}`"
            yield (
                f"`{before}{name}`",
                shown if len(shown) <= 60 else "…",
                _allowed(inner, known),
                field.get("description", ""),
            )


def _allowed(field: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_allowed(each, known) for each in field["anyOf"])
    field = known.get(field.get("$ref", "").rpartition("/")[2], field)
    if "enum" in field or "const" in field:
        return ", ".join(f"`{each}`" for each in field.get("enum", [field.get("const")]))
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[key]}" for key, sign in signs.items() if key in field]
    if "items" in field:
        return f"list of {_allowed(field['items'], known)}"
    return ", ".join([str(field.get("type", "any")).replace("null", "nothing"), *bounds])
