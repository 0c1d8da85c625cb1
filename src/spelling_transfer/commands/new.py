"""``spelling-transfer new``: a project in a folder of its own, with the configuration and model that the wheel carries.

Nothing of Kedro is imported: outside a project it would print a line of its own.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import click

from spelling_transfer import __version__

_PACKAGE = Path(__file__).parents[1]
_COPIED = (".gitignore", ".kedro.yml", ".telemetry", ".viz/styles.json", "conf", "data/01_raw/models/tiny-qwen3")
_PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["spelling-transfer=={version}"]

# Tasks of your own in src/, each as NAME = "module:Class"; then `pip install -e .`
[project.entry-points."spelling_transfer.tasks"]

[tool.kedro]
package_name = "spelling_transfer"
project_name = "{name}"
kedro_init_version = "{kedro}"
source_dir = "src"
"""


class _Outside(click.Group):
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None:
            raise click.UsageError(
                f"There is no project here, which {cmd_name!r} needs. 'spelling-transfer new FOLDER' makes one."
            )
        return command


@click.group(cls=_Outside)
@click.version_option(__version__, prog_name="spelling-transfer")
def outside() -> None:
    """Does teaching a language model to spell teach it where letters stand?

    In the folder of a project these are the commands of `kedro`; outside any, a new one can be made.
    """


@outside.command()
@click.argument("folder", type=click.Path(path_type=Path))
def new(folder: Path) -> None:
    """Make a project in FOLDER: configuration, and the model tiny-qwen3.

    \b
    Example:
      spelling-transfer new my-study
    """  # noqa: D301 - \b keeps the example as it is
    make_project(folder)
    click.echo(f"{folder}: configuration in conf/, the model in data/01_raw/models/.")
    click.echo(f"Next: cd {shlex.quote(str(folder))} && kedro run")


def make_project(folder: Path) -> None:
    """Lays down a project; a folder is there whole or not at all.

    Args:
        folder: The project's folder; it is new or empty.

    Raises:
        click.ClickException: The folder holds something, cannot be made, or has a path that Kedro cannot work in.
    """
    folder = folder.absolute()
    if {"[", "{"} & set(str(folder)):
        raise click.ClickException(f"{folder}: Kedro cannot work in a folder whose path has [ or {{. Give another one.")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise click.ClickException(f"{folder} exists already. Give the name of a new or empty folder.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
            made = Path(place) / "project"
            for name in _COPIED:
                _copy(_source() / name, made / name)
            for name in ("conf/local", "src"):
                (made / name).mkdir()
                (made / name / ".gitkeep").touch()
            policy = made / "conf/base/policy.yml"
            policy.write_text(_of_a_study(policy.read_text(encoding="utf-8")), encoding="utf-8")
            name = re.sub(r"[^A-Za-z0-9]+", "-", folder.name).strip("-").lower() or "study"
            text = _PYPROJECT.format(name=name, version=__version__, kedro=metadata.version("kedro"))
            (made / "pyproject.toml").write_text(text, encoding="utf-8")
            made.replace(folder)
    except OSError as error:
        raise click.ClickException(
            f"{folder} cannot be made: {error}. Give a folder that may be written to."
        ) from error


def _source() -> Path:
    """Returns where the files are: in an installed wheel beside the code, in a checkout at its root."""
    carried = _PACKAGE / "project"
    return carried if carried.is_dir() else _PACKAGE.parents[1]


def _of_a_study(policy: str) -> str:
    """Returns rules without the exemptions of code and tests, which are not there: an unused one is a violation."""
    policy = re.sub(r"^( +)- path: (?:src|tests)/.*\n(?:\1  \w.*\n)*", "", policy, flags=re.MULTILINE)
    return re.sub(r"^ +(?:exemptions|test_material):\n(?! +- )", "", policy, flags=re.MULTILINE)


def _copy(source: Path, target: Path) -> None:
    """Copies a file or folder without what belongs to one machine: conf/local, credentials, other programs' traces."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("local", "*credentials*", "__pycache__", ".*"))
        for path in [target, *target.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)  # where the package lies may be closed to writing
    else:
        shutil.copyfile(source, target)
