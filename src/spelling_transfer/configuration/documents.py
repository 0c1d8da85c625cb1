"""Configuration files as text: YAML and JSON, read and written alike, of one version."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.files import write_text

VERSION = "version"
CONFIG_VERSION = 1
"""Version of the configuration files; raised when an older file would be read wrongly."""

SUFFIXES = (".yml", ".yaml", ".json")


OF_THIS_VERSION = "'spelling-transfer new FOLDER' makes the configuration of this version, to compare with."
"""What helps where a project's files are older than the code."""


class ConfigurationError(SpellingTransferError):
    """A configuration file cannot be read, or names something that is not there."""


_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's safe loader, by libyaml where PyYAML was built with it: several times as fast."""


class _Loader(_Safe):  # type: ignore[misc]  # one of two classes
    """The safe loader with the numbers of YAML 1.2 (``1e-4``), dates as text, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # what it brings may be set anew
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key if isinstance(key, Hashable) else id(key_node))
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; numbers are written so that any YAML reader knows them as numbers."""


_NUMBER = re.compile(
    r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)"
    r"|[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
# As OmegaConf reads them: a date is the text that was written.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
for _class in (_Loader, _Dumper):
    # Both must take the same texts for numbers: a string that looks like one is then quoted.
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789."))


def parse_mapping(text: str, place: str) -> dict[str, Any]:
    """Reads a file of values by name.

    Args:
        text: Its content; YAML, or JSON where the place ends so.
        place: Where it is, for messages.

    Raises:
        ConfigurationError: It is not valid, or not a mapping of names.
    """
    try:
        content = json.loads(text) if place.endswith(".json") else yaml.load(text, _Loader)  # noqa: S506 it is a safe one
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        kind = "JSON" if place.endswith(".json") else "YAML"
        raise ConfigurationError(f"{place}: not valid {kind} ({' '.join(str(error).split())}).") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{place}: expected settings by name, found {type(content).__name__}.")
    if not all(isinstance(key, str) for key in content):
        raise ConfigurationError(f"{place}: every name must be text.")
    return content


def parse_document(text: str, place: str) -> dict[str, Any]:
    """Reads a configuration file; without a version it is taken for one of this version.

    Args:
        text: Its content; YAML, or JSON where the place ends so.
        place: Where it is, for messages.

    Returns:
        Its settings, the version left out.

    Raises:
        ConfigurationError: It is not valid, not a mapping, or of another version.
    """
    content = parse_mapping(text, place)
    version = content.pop(VERSION, CONFIG_VERSION)
    if version != CONFIG_VERSION or isinstance(version, bool):
        raise ConfigurationError(
            f"{place}: version: {version!r} is not the version this release reads, {CONFIG_VERSION}. "
            "Write the configuration again with this release, or use the release that wrote it."
        )
    return content


def read_file(file: Path, *, any_name: bool = False) -> dict[str, Any]:
    """Reads a configuration file; see `parse_document`.

    Args:
        file: The file.
        any_name: Whether its name may end in anything, as that of a pipe does.

    Raises:
        ConfigurationError: It is not there, or not valid.
    """
    if file.suffix not in SUFFIXES and not any_name:
        raise ConfigurationError(f"{file}: is neither YAML nor JSON; the name must end in {', '.join(SUFFIXES)}.")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{file}: cannot be read: {reason}.") from error
    return parse_document(text, str(file))


def dump_document(content: Mapping[str, Any], suffix: str) -> str:
    """Returns a configuration as text.

    Args:
        content: Plain values by name.
        suffix: ``.yml``, ``.yaml`` or ``.json``.

    Raises:
        ConfigurationError: The suffix is another one.
    """
    if suffix not in SUFFIXES:
        raise ConfigurationError(f"{suffix!r} is neither YAML nor JSON; allowed are {', '.join(SUFFIXES)}.")
    if suffix == ".json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def write_file(content: Mapping[str, Any], file: Path) -> None:
    """Writes a configuration file, whole or not at all."""
    write_text(file, dump_document(content, file.suffix))
