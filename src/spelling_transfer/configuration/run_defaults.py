"""``.kedro.yml``: the defaults of ``kedro run`` in this project."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from spelling_transfer.configuration.documents import ConfigurationError, read_file

FILE_NAME = ".kedro.yml"

_MAPPINGS = {"params", "runner_params"}
_NOT_A_DEFAULT = {"config", "help"}


def read_run_defaults(project: Path, options: Sequence[click.Parameter]) -> dict[str, Any]:
    """Returns the section ``run`` of ``.kedro.yml`` as click's defaults, by parameter name.

    Keys are the options of ``kedro run`` without the dashes in front. A list stands for comma-separated values. The
    environment variable ``KEDRO_ENV`` comes before the file, as it does before Kedro's own default.

    Args:
        project: The project's root. Without the file there are no defaults.
        options: What ``kedro run`` accepts.

    Raises:
        ConfigurationError: The file is not valid YAML, has an unknown key, or a value of the wrong kind.
    """
    file = project / FILE_NAME
    if not file.is_file():
        return {}
    defaults = read_defaults(file, options)
    if os.environ.get("KEDRO_ENV"):
        defaults.pop("env", None)
    return defaults


def read_defaults(file: Path, options: Sequence[click.Parameter]) -> dict[str, Any]:
    """Returns the section ``run`` of a file as click's defaults; see `read_run_defaults`.

    Raises:
        ConfigurationError: As there.
    """
    known = {name: option for option in options for name in _names(option) if option.name not in _NOT_A_DEFAULT}
    defaults = {}
    for key, value in _section(file).items():
        if (option := known.get(key)) is None:
            raise ConfigurationError(
                f"{file}: run.{key} is not an option of 'kedro run'{_suggest(key, list(known))}. "
                f"Known: {', '.join(sorted(_option_name(option) for option in set(known.values())))}."
            )
        if value is not None and option.name is not None:
            defaults[option.name] = _as_default(file, key, value, option)
    return defaults


def describe(defaults: Mapping[str, Any], options: Sequence[click.Parameter]) -> list[tuple[str, str]]:
    """Returns rows of option and value for the help page."""
    return [(f"--{_option_name(option)}", str(defaults[option.name])) for option in options if option.name in defaults]


def _section(file: Path) -> dict[str, Any]:
    content = read_file(file, any_name=True)
    if not isinstance(content.get("run") or {}, dict):
        raise ConfigurationError(f"{file}: expected 'run:' with options and values below it, found {content!r}.")
    if unknown := set(content) - {"run"}:
        raise ConfigurationError(f"{file}: unknown key {min(unknown)!r}. The file has one key: 'run'.")
    return {str(key): value for key, value in (content.get("run") or {}).items()}


def _names(option: click.Parameter) -> set[str]:
    # Kedro's own --config files use the parameter's name (from_nodes), the command line the option's (from-nodes).
    long = {name.removeprefix("--") for name in option.opts if name.startswith("--")}
    return long | {name.replace("-", "_") for name in long} | ({option.name} if option.name else set())


def _option_name(option: click.Parameter) -> str:
    return max(option.opts, key=len).lstrip("-")


def _suggest(key: str, known: Sequence[str]) -> str:
    matches = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _as_default(file: Path, key: str, value: Any, option: click.Parameter) -> Any:
    if getattr(option, "is_flag", False):
        if not isinstance(value, bool):
            raise ConfigurationError(f"{file}: run.{key}: {value!r} is neither true nor false.")
        return value
    if isinstance(value, dict):
        if option.name not in _MAPPINGS:
            raise ConfigurationError(f"{file}: run.{key}: {value!r} should be a single value.")
        return value
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
