"""What the commands share: the project, its settings, a connection, errors and tables."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .config import ComputeConfig, config_loader, load_config
from .errors import ComputeError, PlatformError

if TYPE_CHECKING:
    from .platform.machines import PriceList

env_option = click.option(
    "--env", "-e", default=None, envvar="KEDRO_ENV", help="Environment of the settings: a folder of conf."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")


def examples(*lines: str) -> str:
    """Returns command lines as the end of a help page, a line each."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])


@contextmanager
def one_message() -> Iterator[None]:
    """Turns an error of the plugin into one message and exit code 1."""
    try:
        yield
    except ComputeError as error:
        raise click.ClickException(str(error)) from error


def project_folder() -> Path:
    """Returns the folder of the project around the current one.

    Raises:
        ComputeError: There is none.
    """
    from kedro.utils import find_kedro_project

    found = find_kedro_project(Path.cwd())
    if found is None:
        raise ComputeError(f"{Path.cwd()} is not in a Kedro project.")
    return Path(found)


def settings(env: str | None) -> tuple[Path, ComputeConfig]:
    """Returns the project's folder and its settings."""
    project = project_folder()
    folder = project / "conf"
    if env and folder.is_dir() and not (folder / env).is_dir():
        known = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        raise click.BadParameter(f"there is no environment {env!r} in {folder}. Known: {known}.", param_hint="--env")
    return project, load_config(config_loader(project, env))


def prices_to_show(
    project: Path, config: ComputeConfig, machines: Collection[str], *, offline: bool = False
) -> PriceList:
    """Returns prices for a reader, not for money that is spent: of today, kept from before, or estimates."""
    from .platform.client import connect, signed_in
    from .platform.machines import cached_prices, estimated_prices
    from .preflight import current_prices, price_cache

    if not offline and signed_in():
        try:
            return current_prices(connect(config.teamspace), project)
        except PlatformError as error:
            click.echo(f"{error} Prices kept from before, or estimates, are shown.", err=True)
    return cached_prices(price_cache(project)) or estimated_prices(machines)


def print_json(content: Any) -> None:
    """Prints a value as JSON."""
    click.echo(json.dumps(content, indent=2, default=str))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], width: int | None = None) -> None:
    """Prints rows as a table with aligned columns; as plain text, so that other programs can read it.

    Args:
        rows: The content.
        columns: Key of a row -> heading.
        width: Of the whole table; cells of the first column are cut in the middle until it fits.
    """
    cells = [list(columns.values()), *[[_text(row.get(key)) for key in columns] for row in rows]]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    if width is not None:
        widths[0] = min(widths[0], max(8, width - sum(widths[1:]) - 2 * (len(widths) - 1)))
    for line in cells:
        line[0] = _cut(line[0], widths[0])
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def megabytes(size: int | None) -> str:
    """Returns a size for a reader."""
    if size is None:
        return "?"
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _cut(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    end = width // 2
    return f"{text[: width - end - 1]}…{text[-end:]}"


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}"
    return str(value)
