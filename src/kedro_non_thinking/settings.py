"""Judging one setting by its name and its value, wherever it is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from numbers import Real
from typing import Final

from .findings import Finding, shorten
from .mentions import DEPLOYS
from .policy import Policy
from .text import runs_with
from .trees import as_dict, pairs


class _Unknown:
    """A value that is only known when the program runs."""

    def __repr__(self) -> str:
        return "…"


UNKNOWN: Final = _Unknown()

_OFF = frozenset({"", "false", "no", "off", "none", "null", "nil", "disabled", "disable", "0", "never", "n", "f", "~"})
_ON = frozenset(
    {"true", "yes", "on", "1", "enabled", "enable", "auto", "adaptive", "always", "minimal", "low", "medium", "high"}
    | {"max", "xhigh", "deep", "think", "thinking", "reasoning", "y", "t", "full", "interleaved", "hybrid"}
)
_FALSE = frozenset({"false", "no", "off", "0", "disabled"})
# A mapping says by one of these whether it switches on: {"type": "disabled"}, {"effort": "none"}, {"const": false}.
_DECIDING = (
    *("enabled", "enable", "const", "value", "values", "enum", "choices", "default", "effort", "type", "mode", "level"),
)
_ENABLING = (
    *_DECIDING,
    *("budget_tokens", "budget", "max_tokens", "tokens", "exclude", "summary", "thinkingbudget", "active"),
)
_FORCING = (
    *("eos_token_id", "bos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id"),
    *("forced_eos_token_id", "forced_decoder_ids", "begin_token_id", "prefix_token_ids", "stop_token_ids"),
)
_MOST_KEYS = 100_000
_STEMS = ("think", "reason", "template")
_RUN = re.compile(r"[\w.-]+")
_NAME_START = re.compile(r"(?<![\w-])[\w.]")

Check = Callable[[str, object], Finding | None]
"""Judges a name and a value; the name is known to be one that the rule is about."""


def normalise_key(key: str) -> str:
    """Returns the last part of a key in lower case with underscores: ``a.enableThinking`` as ``enable_thinking``."""
    last = key.strip().strip("\"'").rsplit(".", 1)[-1].lstrip("-")
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last)
    return re.sub(r"[\s-]+", "_", spaced).lower()


class SettingRules:
    """The rules about settings as one table: the name of a setting, and the check that its values have to pass."""

    def __init__(self, policy: Policy) -> None:
        rules = policy.rules
        switch = rules.thinking_switch
        self._think_ids = policy.think_ids
        self._flags = frozenset(rules.server_flag.flags)
        self._sampling = policy.sampling.model_dump()
        # These names mean nothing else, so that a prefix such as VLLM_ or another spelling changes nothing.
        clear: dict[str, Check] = {
            **dict.fromkeys(rules.thinking_budget.keys, _not_set("thinking-budget", "gives thinking a budget")),
            **dict.fromkeys(rules.reasoning_parser.keys, _not_set("reasoning-parser", "asks for reasoning output")),
            **dict.fromkeys(rules.template_arguments.keys, self._template_arguments),
            **dict.fromkeys(switch.must_not_be_false, _not_false),
            **dict.fromkeys(switch.must_be_false, _literally_false),
        }
        self._checks: dict[str, Check] = {
            **dict.fromkeys(map(str, policy.think_ids), self._no_bias),
            **dict.fromkeys(_FORCING, self._no_think_id),
            **dict.fromkeys(rules.reasoning_content.keys, _no_thoughts),
            **dict.fromkeys(switch.must_not_enable, _not_enabling),
            **clear,
        }
        self._arguments = frozenset(rules.template_arguments.keys)
        self._clear_by_length = sorted(clear, key=len, reverse=True)
        self.canonical = lru_cache(_MOST_KEYS)(self._canonical)
        spelled = "|".join(name.replace("_", "[_-]?") for name in self._clear_by_length)
        # A setting inside a text: enable_thinking=True, "enable_thinking": true, ENABLE_THINKING: 1, enableThinking:!0
        self._assignment = re.compile(
            rf"(?<![\w-])(?:[\w.]+[_.])?({spelled})[\"'`]?(?:\s*:\s*(?:bool|int|str)\b)?\s*(?:=|:|:=|=>)\s*"
            rf"([\"']?[\w$!~+.-]+[\"']?|\"\"|''|\{{[^{{}}]*\}}|\[[^\[\]]*\])"
        )
        # One of these is a part of every name.
        self._stems = tuple(dict.fromkeys(_stem(name) for name in self._clear_by_length))

    def assignments(self, text: str) -> Iterator[re.Match[str]]:
        """Yields what looks like a setting and its value in a text in lower case: the name, then the value."""
        end = 0
        for first, last in runs_with(self._stems, text, _RUN):
            for start in _NAME_START.finditer(text, first, last):
                match = self._assignment.match(text, start.start()) if start.start() >= end else None
                if match:
                    end = match.end()
                    yield match

    def _canonical(self, key: str) -> str | None:
        """Returns the name of the setting that a key stands for, or ``None`` if no rule knows it.

        ``VLLM_ENABLE_THINKING`` stands for ``enable_thinking``; ``analyze_thinking_mode`` stands for nothing, since
        ``thinking_mode`` has other uses too.
        """
        name = normalise_key(key)
        if name in self._checks:
            return name
        joined = name.replace("_", "")
        if not any(map(joined.__contains__, self._stems)):
            return None
        for known in self._clear_by_length:
            if name.endswith(f"_{known}") or joined == known.replace("_", ""):
                # no_enable_thinking and dont_use_thinking switch off what they name
                negated = re.search(r"(?:^|_)(?:no|not|dont|never|disable|without|forbid)_$", name[: -len(known)])
                return None if negated else known
        return None

    def judge(self, key: str, value: object, *, deployment: bool = False, among: object = None) -> Finding | None:
        """Returns what is wrong with a setting, or ``None``.

        Args:
            key: The name as it is written.
            value: The value; ``UNKNOWN`` for an expression.
            deployment: Whether it belongs to a deployment, where sampling values are fixed.
            among: The mapping around it: among counts of words, ``thinking`` is a word.
        """
        name = self.canonical(key)
        if name is None:
            return self.judge_sampling(key, value) if deployment or DEPLOYS.search(key) else None
        check = self._checks[name]
        if check is _not_enabling and is_count_table(among):
            return None
        return check(key, value)

    def is_ambiguous(self, key: str) -> bool:
        """Whether a key has other uses too, so that only a value that switches on counts."""
        name = self.canonical(key)
        return name is not None and self._checks[name] is _not_enabling

    def judge_flag(self, flag: str, value: str | None) -> Finding | None:
        """Returns what is wrong with a command-line option, or ``None``.

        Args:
            flag: The option with its dashes.
            value: What follows it; ``None`` if nothing does.
        """
        name = flag.lower().replace("_", "-")
        if name in self._flags:
            shown = shorten(flag if value is None else f"{flag} {value}")
            problem = Finding("server-flag", f"the option {flag} has to do with reasoning", shown)
            return problem if value is None or not is_off(value) else None
        if not name.startswith("--"):
            return None
        parsed: object = True if value is None else value
        if value is not None and self.canonical(flag) in self._arguments:
            parsed = _parse_json(value.replace('\\"', '"'))
        return self.judge(flag.lstrip("-"), parsed)

    def judge_sampling(self, key: str, value: object) -> Finding | None:
        """Returns what is wrong with a sampling value of a deployment, or ``None``."""
        name = re.sub(r"^(?:deploy|serv(?:e|ing)|endpoint)[a-z]*_", "", normalise_key(key))
        allowed = self._sampling.get("temperature" if name == "temp" else name)
        if allowed is None or value is None or isinstance(value, bool):
            return None
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return None
        if abs(number - allowed) < 1e-9:
            return None
        message = f"'{key}' is {number:g} in deployment, the policy has {allowed:g}"
        return Finding("deployment-sampling", message, shorten(f"{key}={value}"))

    def _template_arguments(self, key: str, value: object) -> Finding | None:
        if value is None or value is UNKNOWN or is_prose(value):
            return None
        shown = _show(key, value)
        if isinstance(value, str):
            value = _parse_json(value)
        mapping = as_dict(value)
        if mapping is None:
            return None if is_off(value) else Finding("template-arguments", f"'{key}' is not a mapping", shown)
        said = False
        for name, entry in mapping.items():
            is_switch = normalise_key(name) == "enable_thinking"
            # The template asks whether the value *is* false: null, 0 and "false" are not.
            if self.judge(name, entry) is not None or (is_switch and not _says_false(entry)):
                return Finding("template-arguments", f"'{key}' does not set enable_thinking to false", shown)
            said = said or is_switch
        if said or _is_schema(mapping) or mapping.get("**") is UNKNOWN:
            return None
        return Finding("template-arguments", f"'{key}' leaves out enable_thinking, which then is true", shown)

    def _no_think_id(self, key: str, value: object) -> Finding | None:
        ids = value if isinstance(value, (list, tuple)) else [value]
        plain = [part.tolist() if hasattr(part, "tolist") else part for part in ids]  # an array, a tensor, a column
        flat = [entry for part in plain for entry in (part if isinstance(part, (list, tuple)) else [part])]
        if any(isinstance(entry, Real) and entry in self._think_ids for entry in flat):
            return Finding("think-token", f"'{key}' holds a think token", _show(key, value))
        return None

    def _no_bias(self, key: str, value: object) -> Finding | None:
        if isinstance(value, (int, float)) and value > 0:
            return Finding("think-token", "a bias in favour of a think token", _show(key, value))
        return None


# -- the checks of single values ---------------------------------------------------------------------------------------


def _literally_false(key: str, value: object) -> Finding | None:
    if (value is not None and is_off(value)) or is_prose(value):
        return None
    said = "switches thinking on" if is_on(value) else "is not literally false"
    return Finding("thinking-switch", f"'{key}' {said}", _show(key, value))


def _not_enabling(key: str, value: object) -> Finding | None:
    # A number under such a name is a count, a share or a score.
    if is_on(value) and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return Finding("thinking-switch", f"'{key}' switches thinking on", _show(key, value))
    return None


def _not_false(key: str, value: object) -> Finding | None:
    if is_false(value):
        return Finding("thinking-switch", f"'{key}' is false, which switches thinking on", _show(key, value))
    return None


def _not_set(rule: str, said: str) -> Check:
    def check(key: str, value: object) -> Finding | None:
        if value is UNKNOWN or is_off(value) or is_prose(value):
            return None
        return Finding(rule, f"'{key}' {said}", _show(key, value))

    return check


def _no_thoughts(key: str, value: object) -> Finding | None:
    """Judges a field of a message or a record that holds thoughts."""
    if not isinstance(value, (str, list, dict)) or not value or (isinstance(value, str) and is_off(value)):
        return None
    return Finding("reasoning-content", f"'{key}' holds thoughts", shorten(value))


def _show(key: str, value: object) -> str:
    return shorten(f"{key}={value!r}")


def _says_false(value: object) -> bool:
    return value is False or (as_dict(value) is not None and is_off(value))


def _is_schema(mapping: dict[str, object]) -> bool:
    return isinstance(mapping.get("type"), str) or "$ref" in mapping or "anyof" in mapping


def _stem(name: str) -> str:
    return next((stem for stem in _STEMS if stem in name), max(name.split("_"), key=len))


def _parse_json(value: str) -> object:
    try:
        parsed: object = json.loads(value)
    except ValueError:
        return value
    return parsed


# -- what a value says -------------------------------------------------------------------------------------------------


def is_off(value: object) -> bool:
    """Returns whether a value clearly switches nothing on."""
    if value is None or (isinstance(value, (bool, int, float)) and value == 0):
        return True
    if isinstance(value, str):
        return _word(value) in _OFF
    mapping = as_dict(value)
    if mapping is not None:
        for name in _DECIDING:
            if name in mapping and not _describes_type(name, mapping[name]):
                return is_off(mapping[name])
        return _describes_type("type", mapping.get("type")) or all(is_off(entry) for entry in mapping.values())
    return isinstance(value, (list, tuple)) and all(is_off(entry) for entry in value)


def is_on(value: object) -> bool:
    """Returns whether a value clearly switches something on.

    Numbers in a list switch nothing on, and a mapping does so by a key that decides: ``{"thinking": {"ids": [7, 8]}}``
    is about a word.
    """
    if isinstance(value, (bool, int, float)):
        return value != 0
    if isinstance(value, str):
        return _word(value) in _ON
    mapping = as_dict(value)
    if mapping is not None:
        return any(name in mapping and is_on(mapping[name]) for name in _ENABLING)
    return isinstance(value, (list, tuple)) and any(is_on(entry) for entry in value if isinstance(entry, (bool, str)))


def is_false(value: object) -> bool:
    """Returns whether a value is false by intention, and not merely empty."""
    if isinstance(value, str):
        return _word(value) in _FALSE
    return isinstance(value, (bool, int, float)) and value == 0


def is_prose(value: object) -> bool:
    """Returns whether a value is a sentence about the setting, as in a help text."""
    return (
        isinstance(value, str) and bool(re.search(r"\w\s+\w+\s+\w", value)) and "${" not in value and "{{" not in value
    )


def is_count_table(value: object) -> bool:
    """Returns whether a mapping only counts: words and how often they occur, tokens and their ids."""
    entries = list(pairs(value) or ())
    return len(entries) >= 3 and all(
        isinstance(entry, (int, float)) and not isinstance(entry, bool) for _, entry in entries
    )


def _word(value: str) -> str:
    return value.strip().strip("\"'").lower()


def _describes_type(name: str, value: object) -> bool:
    return name == "type" and isinstance(value, str) and value.lower() in {"bool", "boolean", "string", "int", "object"}
