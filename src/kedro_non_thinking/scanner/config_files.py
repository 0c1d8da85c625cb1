"""Configuration: YAML, JSON, TOML and files of environment variables."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

import yaml

from ..findings import Finding
from ..judge import Judge, Mode, Path
from ..values import PairList
from .source import Source, UncheckableError

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_NODES = 200_000
_LARGEST_LOCATED = 2_000_000

Locate = Callable[[Path], int]


def check_yaml(source: Source) -> None:
    """Raises :class:`UncheckableError` if a text is not YAML; much faster than judging it."""
    try:
        for _ in yaml.parse(source.text, Loader=_Loader):
            pass
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UncheckableError(f"not valid YAML ({_first_line(error)})") from error


def scan_yaml(source: Source, judge: Judge) -> list[Finding]:
    """Judges a YAML file, every document of it."""
    findings: list[Finding] = []
    for value, lines in read_yaml(source.text):
        findings += _judge_tree(source, judge, value, _nearest(lines))
    return findings


def read_yaml(text: str) -> list[tuple[Any, dict[Path, int]]]:
    """Returns each document's value, with keys given twice kept, and the line of every path in it.

    Raises:
        UncheckableError: The text is not YAML, or grows without bounds through its aliases.
    """
    documents = []
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            reader = _YamlReader()
            documents.append((reader.build(node, ()), reader.lines))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UncheckableError(f"not valid YAML ({_first_line(error)})") from error
    return documents


class _YamlReader:
    """Turns YAML nodes into values without constructing objects of unknown tags."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._nodes = 0
        self._constructor: Any = yaml.constructor.SafeConstructor()

    def build(self, node: Any, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise UncheckableError("YAML that grows without bounds through its aliases")
        block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        self.lines[path] = node.start_mark.line + (2 if block else 1)
        if isinstance(node, yaml.MappingNode):
            entries = PairList()
            for key_node, value_node in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
                value = self.build(value_node, (*path, key))
                if not isinstance(value_node, yaml.ScalarNode):
                    self.lines[(*path, key)] = key_node.start_mark.line + 1
                entries.append((key, value))
            return entries
        if isinstance(node, yaml.SequenceNode):
            return [self.build(entry, (*path, index)) for index, entry in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: Any) -> Any:
        kind = str(node.tag).rsplit(":", 1)[-1]
        build = {
            "bool": self._constructor.construct_yaml_bool,
            "int": self._constructor.construct_yaml_int,
            "float": self._constructor.construct_yaml_float,
            "null": lambda _node: None,
        }.get(kind)
        try:
            return node.value if build is None else build(node)
        except (ValueError, KeyError):
            return node.value


def read_json(text: str) -> Any:
    """Returns the value of a JSON text, with keys given twice kept.

    Raises:
        UncheckableError: The text is not JSON.
    """
    try:
        return json.loads(text, object_pairs_hook=PairList)
    except (ValueError, RecursionError) as error:
        raise UncheckableError(f"not valid JSON ({_first_line(error)})") from error


def scan_json(source: Source, judge: Judge) -> list[Finding]:
    """Judges a JSON file."""
    text = _without_comments(source.text) if source.path.endswith((".jsonc", ".json5")) else source.text
    return _judge_tree(source, judge, read_json(text), _json_lines(source.text))


def scan_toml(source: Source, judge: Judge) -> list[Finding]:
    """Judges a TOML file."""
    try:
        value = tomllib.loads(source.text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UncheckableError(f"not valid TOML ({_first_line(error)})") from error
    return _judge_tree(source, judge, value, _by_key(source.text))


def scan_env(source: Source, judge: Judge) -> list[Finding]:
    """Judges lines of ``NAME=value``: ``.env``, ``.ini``, ``.cfg``, ``.properties``."""
    findings = []
    for number, line in enumerate(source.text.split("\n"), start=1):
        match = re.match(r"\s*(?:export\s+|set\s+)?([\w.-]+)\s*[=:]\s*(.*?)\s*$", line)
        if match is None:
            continue
        value = match[2]
        if value[:1] in "\"'" and value[:1]:
            value = value[1:].split(value[0], 1)[0]
        else:
            value = re.split(r"\s[#;]", value, maxsplit=1)[0].strip()
        problems = [found for _, found in judge.tree({match[1]: value}, deployment=source.deployment)]
        findings += [source.finding(problem, number) for problem in problems]
        # An ambiguous name in the upper case of an environment variable is a setting: QWEN_THINKING=1
        prefixed = re.fullmatch(
            r"(?!.*(?:DISABLE|NO|NON|WITHOUT|SKIP)_)[A-Z0-9_]+_(THINKING|REASONING|THINKING_MODE)", match[1]
        )
        if prefixed and not problems:
            problem = judge.keys.judge(prefixed[1], value)
            findings += [source.finding(problem, number)] if problem else []
    return findings


def _judge_tree(source: Source, judge: Judge, value: Any, locate: Locate) -> list[Finding]:
    findings = []
    try:
        for path, problem in judge.tree(value, deployment=source.deployment, mode=Mode.SETTING):
            inside = 0
            if problem.offset:
                text = _value_at(value, path)
                normalised = judge.text_rules.normalise(text) if isinstance(text, str) else ""
                inside = normalised.count("\n", 0, problem.offset)
            findings.append(source.finding(problem, locate(path) + inside))
    except RecursionError as error:
        raise UncheckableError("nested too deeply") from error
    return findings


def _value_at(value: Any, path: Path) -> Any:
    for part in path:
        if isinstance(value, PairList):
            value = next((entry for key, entry in reversed(value) if str(key) == part), None)
        else:
            value = value[part] if isinstance(value, (list, dict)) else None  # type: ignore[index]
    return value


def _nearest(lines: dict[Path, int]) -> Locate:
    def locate(path: Path) -> int:
        while path and path not in lines:
            path = path[:-1]
        return lines.get(path, 1)

    return locate


def _json_lines(text: str) -> Locate:
    """Finds lines in JSON, which Python's reader does not tell: YAML's reader does, and reads JSON as well."""
    lines: dict[Path, int] | None = None

    def locate(path: Path) -> int:
        nonlocal lines
        if lines is None:
            try:
                lines = read_yaml(text)[0][1] if len(text) < _LARGEST_LOCATED else {}
            except (UncheckableError, IndexError):
                lines = {}
        return _nearest(lines)(path) if lines else _by_key(text)(path)

    return locate


def _by_key(text: str) -> Locate:
    """Finds lines by the keys of a path, one after the other: ``[serving]``, then ``enable_thinking =``."""

    def locate(path: Path) -> int:
        position = 0
        for part in path:
            if isinstance(part, str):
                match = re.compile(rf"(?<![\w-])[\"']?{re.escape(part)}[\"']?\s*[\]=:.]").search(text, position)
                position = match.start() if match else position
        return text.count("\n", 0, position) + 1

    return locate


def _without_comments(text: str) -> str:
    text = re.sub(r"(?m)^\s*//.*$", "", text)
    return re.sub(
        r",(\s*[}\]])", r"\1", re.sub(r"/\*.*?\*/", lambda match: "\n" * match[0].count("\n"), text, flags=re.S)
    )


def _first_line(error: BaseException) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).split("\n", 1)[0] or type(error).__name__
    return f"{problem}, line {mark.line + 1}" if mark is not None else str(problem)
