"""Whether a value switches something on or off, as far as it can be known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final


class _Unknown:
    """A value that is only known when the program runs."""

    def __repr__(self) -> str:
        return "an expression"


UNKNOWN: Final = _Unknown()

_OFF = frozenset({"", "false", "no", "off", "none", "null", "nil", "disabled", "disable", "0", "never", "n", "f", "~"})
_ON = frozenset(
    {"true", "yes", "on", "1", "enabled", "enable", "auto", "adaptive", "always", "minimal", "low", "medium", "high"}
    | {"max", "xhigh", "deep", "think", "thinking", "reasoning", "y", "t", "full", "interleaved", "hybrid"}
)
# A mapping says by one of these whether it switches on: {"type": "disabled"}, {"effort": "none"}, {"const": false}.
_DECIDING = (
    "enabled",
    "enable",
    "const",
    "value",
    "values",
    "enum",
    "choices",
    "default",
    "effort",
    "type",
    "mode",
    "level",
)
_ENABLING = (
    *_DECIDING,
    "budget_tokens",
    "budget",
    "max_tokens",
    "tokens",
    "exclude",
    "summary",
    "thinkingbudget",
    "active",
)


class PairList(list[tuple[Any, Any]]):
    """A mapping as it was written: a key that is given twice is there twice."""


def pairs(value: object) -> Iterable[tuple[Any, Any]] | None:
    """Returns the entries of a mapping, or ``None`` for anything else."""
    if isinstance(value, PairList):
        return value
    if isinstance(value, Mapping):
        return value.items()
    return None


def as_dict(value: object) -> dict[str, Any] | None:
    """Returns a mapping with keys in lower case, or ``None`` for anything else."""
    entries = pairs(value)
    return None if entries is None else {str(key).lower(): entry for key, entry in entries}


def is_off(value: object) -> bool:
    """Returns whether a value surely switches nothing on."""
    if value is None or value is False:
        return True
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value == 0
    if isinstance(value, str):
        return value.strip().strip("\"'").lower() in _OFF
    mapping = as_dict(value)
    if mapping is not None:
        if not mapping:
            return True
        for name in _DECIDING:
            if name in mapping and not _describes_type(name, mapping[name]):
                return is_off(mapping[name])
        return _describes_type("type", mapping.get("type")) or all(is_off(entry) for entry in mapping.values())
    if isinstance(value, (list, tuple)):
        return all(is_off(entry) for entry in value)
    return False


def is_on(value: object) -> bool:
    """Returns whether a value surely switches something on.

    Numbers in a list switch nothing on, and a mapping does so by a key that decides: ``{"thinking": {"ids": [7, 8]}}``
    is about a word.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return value != 0
    if isinstance(value, str):
        return value.strip().strip("\"'").lower() in _ON
    mapping = as_dict(value)
    if mapping is not None:
        return any(name in mapping and is_on(mapping[name]) for name in _ENABLING)
    if isinstance(value, (list, tuple)):
        return any(is_on(entry) for entry in value if isinstance(entry, (bool, str)))
    return False


def is_count_table(value: object) -> bool:
    """Returns whether a mapping only counts: words and how often they occur, tokens and their ids."""
    entries = list(pairs(value) or ())
    return len(entries) >= 3 and all(
        isinstance(entry, (int, float)) and not isinstance(entry, bool) for _, entry in entries
    )


def is_false(value: object) -> bool:
    """Returns whether a value is false by intention, and not merely empty."""
    if isinstance(value, str):
        return value.strip().strip("\"'").lower() in {"false", "no", "off", "0", "disabled"}
    return value is False or (isinstance(value, (int, float)) and value == 0)


def is_prose(value: object) -> bool:
    """Returns whether a value is a sentence about the setting, as in a help text."""
    return (
        isinstance(value, str) and bool(re.search(r"\w\s+\w+\s+\w", value)) and "${" not in value and "{{" not in value
    )


def _describes_type(name: str, value: object) -> bool:
    return name == "type" and isinstance(value, str) and value.lower() in {"bool", "boolean", "string", "int", "object"}
