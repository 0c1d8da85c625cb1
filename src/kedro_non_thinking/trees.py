"""Reading settings as they were written: as trees in which a key that is given twice is there twice."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import yaml

from .errors import UncheckableError

Keys = tuple[str | int, ...]
"""Keys and indices from the root of a tree to one value."""

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_NODES = 200_000


class PairList(list[tuple[Any, Any]]):
    """A mapping as it was written."""


def pairs(value: object) -> Iterable[tuple[Any, Any]] | None:
    """Returns the entries of a mapping, or ``None`` for anything else."""
    if isinstance(value, PairList):
        return value
    return value.items() if isinstance(value, Mapping) else None


def as_dict(value: object) -> dict[str, Any] | None:
    """Returns a mapping with keys in lower case, or ``None`` for anything else."""
    entries = pairs(value)
    return None if entries is None else {str(key).lower(): entry for key, entry in entries}


@contextmanager
def reading(form: str) -> Iterator[None]:
    """Turns what a parser raises into an :class:`UncheckableError` that says what was not valid, and where."""
    try:
        yield
    except (yaml.YAMLError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UncheckableError(f"not valid {form} ({_first_line(error)})") from error


def check_yaml(text: str) -> None:
    """Raises :class:`UncheckableError` if a text is not YAML; much faster than :func:`read_yaml`."""
    with reading("YAML"):
        for _ in yaml.parse(text, Loader=_Loader):
            pass


def read_yaml(text: str) -> list[tuple[Any, dict[Keys, int]]]:
    """Returns the value of each document, and the line of every path in it.

    Raises:
        UncheckableError: The text is not YAML, or grows without bounds through its aliases.
    """
    documents = []
    with reading("YAML"):
        for node in yaml.compose_all(text, Loader=_Loader):
            reader = _YamlReader()
            documents.append((reader.build(node, ()), reader.lines))
    return documents


class _YamlReader:
    """Turns YAML nodes into values without constructing objects of unknown tags."""

    def __init__(self) -> None:
        self.lines: dict[Keys, int] = {}
        self._nodes = 0
        constructor: Any = yaml.constructor.SafeConstructor()
        self._constructors = {
            "bool": constructor.construct_yaml_bool,
            "int": constructor.construct_yaml_int,
            "float": constructor.construct_yaml_float,
            "null": lambda _node: None,
        }

    def build(self, node: Any, keys: Keys) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise UncheckableError("YAML that grows without bounds through its aliases")
        block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        self.lines[keys] = node.start_mark.line + (2 if block else 1)
        if isinstance(node, yaml.MappingNode):
            entries = PairList()
            for key_node, value_node in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
                value = self.build(value_node, (*keys, key))
                if not isinstance(value_node, yaml.ScalarNode):
                    self.lines[(*keys, key)] = key_node.start_mark.line + 1
                entries.append((key, value))
            return entries
        if isinstance(node, yaml.SequenceNode):
            return [self.build(entry, (*keys, index)) for index, entry in enumerate(node.value)]
        construct = self._constructors.get(str(node.tag).rsplit(":", 1)[-1])
        try:
            return node.value if construct is None else construct(node)
        except (ValueError, KeyError):
            return node.value


# A text in quotes, which is kept; a comment; a comma before the end of a list or mapping.
_EDITORS = re.compile(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*|/\*.*?\*/|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.DOTALL)


def read_json(text: str) -> Any:
    """Returns the value of a JSON text; comments and trailing commas are read over, as editors do.

    Raises:
        UncheckableError: The text is not JSON.
    """
    with reading("JSON"):
        try:
            return json.loads(text, object_pairs_hook=PairList)
        except ValueError:
            plain = _EDITORS.sub(lambda match: match[1] or re.sub(r"[^\n]", " ", match[0]), text)
            if plain == text:
                raise
            return json.loads(plain, object_pairs_hook=PairList)


def read_toml(text: str) -> dict[str, Any]:
    """Returns the value of a TOML text.

    Raises:
        UncheckableError: The text is not TOML.
    """
    with reading("TOML"):
        return tomllib.loads(text)


def _first_line(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg}, line {error.lineno}"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).split("\n", 1)[0] or type(error).__name__
    return f"{problem}, line {mark.line + 1}" if mark is not None else str(problem)
