"""Configuration: YAML, JSON, TOML and files of environment variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from ..errors import UncheckableError
from ..findings import Finding
from ..trees import Keys, read_json, read_toml, read_yaml
from .files import Source

_LARGEST_LOCATED = 2_000_000
_VARIABLE = re.compile(r"\s*(?:export\s+|set\s+)?([\w.-]+)\s*[=:]\s*(.*?)\s*$")
# An ambiguous name in the upper case of an environment variable is a setting: QWEN_THINKING=1
_PREFIXED = re.compile(r"(?!.*(?:DISABLE|NO|NON|WITHOUT|SKIP)_)[A-Z0-9_]+_(THINKING|REASONING|THINKING_MODE)")


def scan_yaml(source: Source) -> Iterator[Finding]:
    """Judges a YAML file, every document of it."""
    for value, lines in read_yaml(source.text):
        yield from _tree(source, value, lambda keys, lines=lines: _nearest(lines, keys) or 1)  # type: ignore[misc]


def scan_json(source: Source) -> Iterator[Finding]:
    """Judges a JSON file."""
    yield from _tree(source, read_json(source.text), _json_lines(source.text))


def scan_toml(source: Source) -> Iterator[Finding]:
    """Judges a TOML file."""
    yield from _tree(source, read_toml(source.text), lambda keys: _by_key(source.text, keys))


def scan_env(source: Source) -> Iterator[Finding]:
    """Judges lines of ``NAME=value``: ``.env``, ``.ini``, ``.cfg``, ``.properties``."""
    for number, line in enumerate(source.text.split("\n"), start=1):
        match = _VARIABLE.match(line)
        if match is None:
            continue
        name, value = match.groups()
        if value[:1] in ("'", '"'):
            value = value[1:].split(value[0], 1)[0]
        else:
            value = re.split(r"\s[#;]", value, maxsplit=1)[0].strip()
        findings = [found for _, found in source.judge.tree({name: value}, deployment=source.deployment)]
        prefixed = _PREFIXED.fullmatch(name)
        if prefixed and not findings:
            finding = source.judge.settings.judge(prefixed[1], value)
            findings = [] if finding is None else [finding]
        yield from source.place(findings, number)


def _tree(source: Source, value: Any, line_of: Callable[[Keys], int]) -> Iterator[Finding]:
    for keys, finding in source.judge.tree(value, deployment=source.deployment):
        yield from source.place([finding], line_of(keys))


def _nearest(lines: dict[Keys, int], keys: Keys) -> int | None:
    """Returns the line of a value, or of what is around it."""
    return next((lines[keys[:size]] for size in range(len(keys), -1, -1) if keys[:size] in lines), None)


def _json_lines(text: str) -> Callable[[Keys], int]:
    """Finds lines in JSON, of which Python's reader says nothing: YAML's reader does, and reads JSON as well."""

    @cache
    def lines() -> dict[Keys, int]:
        try:
            return read_yaml(text)[0][1] if len(text) < _LARGEST_LOCATED else {}
        except (UncheckableError, IndexError):
            return {}

    return lambda keys: _nearest(lines(), keys) or _by_key(text, keys)


def _by_key(text: str, keys: Keys) -> int:
    """Finds a line by the keys of a path, one after the other: ``[serving]``, then ``enable_thinking =``."""
    position = 0
    for part in keys:
        if isinstance(part, str):
            match = re.compile(rf"(?<![\w-])[\"']?{re.escape(part)}[\"']?\s*[\]=:.]").search(text, position)
            position = match.start() if match else position
    return text.count("\n", 0, position) + 1
