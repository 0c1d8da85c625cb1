"""Judging one setting by its name and its value, wherever it is written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .findings import shorten
from .rules import Policy
from .values import UNKNOWN, as_dict, is_false, is_off, is_on, is_prose

_MOST_KEYS = 100_000


@dataclass(frozen=True)
class Problem:
    """A violation without its place.

    Attributes:
        rule: The id of the rule.
        message: What is wrong.
        value: The offending value, shortened.
        offset: Where it stands in the text that was judged; 0 where there is none.
    """

    rule: str
    message: str
    value: str = ""
    offset: int = 0


def normalise_key(key: str) -> str:
    """Returns the last part of a key in lower case with underscores: ``a.enableThinking`` as ``enable_thinking``."""
    last = key.strip().strip("\"'").rsplit(".", 1)[-1].lstrip("-")
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last)
    return re.sub(r"[\s-]+", "_", spaced).lower()


class KeyRules:
    """The rules about settings, ready to be applied."""

    def __init__(self, policy: Policy) -> None:
        rules = policy.rules
        self._must_be_false = frozenset(rules.thinking_switch.must_be_false)
        self._must_not_enable = frozenset(rules.thinking_switch.must_not_enable)
        self._must_not_be_false = frozenset(rules.thinking_switch.must_not_be_false)
        self._arguments = frozenset(rules.template_arguments.keys)
        self._parsers = frozenset(rules.reasoning_parser.keys)
        self._budgets = frozenset(rules.thinking_budget.keys)
        self._contents = frozenset(rules.reasoning_content.keys)
        self._flags = frozenset(rules.server_flag.flags)
        self._sampling = policy.sampling.model_dump()
        self._canonical: dict[str, str | None] = {}
        sure = self._must_be_false | self._arguments | self._parsers | self._budgets | self._must_not_be_false
        self._sure_by_length = sorted(sure, key=len, reverse=True)
        self._known = sure | self._must_not_enable | self._contents
        spelled = "|".join(name.replace("_", "[_-]?") for name in self._sure_by_length)
        # A setting inside a text: enable_thinking=True, "enable_thinking": true, ENABLE_THINKING: 1, enableThinking:!0
        self.assignment = re.compile(
            rf"(?<![\w-])(?:[\w.]+[_.])?({spelled})[\"'`]?(?:\s*:\s*(?:bool|int|str)\b)?\s*(?:=|:|:=|=>)\s*"
            rf"([\"']?[\w$!~+.-]+[\"']?|\"\"|''|\{{[^{{}}]*\}}|\[[^\[\]]*\])"
        )

    def canonical(self, key: str) -> str | None:
        """Returns the name of the setting that a key stands for, or ``None`` if no rule knows it.

        ``VLLM_ENABLE_THINKING`` stands for ``enable_thinking``; ``analyze_thinking_mode`` stands for nothing, since
        ``thinking_mode`` has other uses too.
        """
        if key not in self._canonical:
            if len(self._canonical) > _MOST_KEYS:
                self._canonical.clear()
            self._canonical[key] = self._find_canonical(key)
        return self._canonical[key]

    def _find_canonical(self, key: str) -> str | None:
        name = normalise_key(key)
        if name in self._known:
            return name
        joined = name.replace("_", "")
        for known in self._sure_by_length:
            if name.endswith(f"_{known}") or joined == known.replace("_", ""):
                # no_enable_thinking and dont_use_thinking switch off what they name
                negated = re.search(r"(?:^|_)(?:no|not|dont|never|disable|without|forbid)_$", name[: -len(known)])
                return None if negated else known
        return None

    def judge(self, key: str, value: object) -> Problem | None:
        """Returns what is wrong with a setting, or ``None``.

        Args:
            key: The name as it is written.
            value: The value; ``UNKNOWN`` for an expression.
        """
        name = self.canonical(key)
        if name is None:
            return None
        shown = shorten(f"{key}={value!r}" if value is not UNKNOWN else f"{key}=…")
        if name in self._must_be_false:
            if (value is not None and is_off(value)) or is_prose(value):
                return None
            said = "switches thinking on" if is_on(value) else "is not literally false"
            return Problem("thinking-switch", f"'{key}' {said}", shown)
        if name in self._must_not_enable:
            # A number under such a name is a count, a share or a score.
            on = is_on(value) and (isinstance(value, bool) or not isinstance(value, (int, float)))
            return Problem("thinking-switch", f"'{key}' switches thinking on", shown) if on else None
        if name in self._must_not_be_false:
            problem = Problem("thinking-switch", f"'{key}' is false, which switches thinking on", shown)
            return problem if is_false(value) else None
        if name in self._arguments:
            return self._judge_arguments(key, value, shown)
        if value is UNKNOWN or is_off(value) or is_prose(value):
            return None
        if name in self._parsers:
            return Problem("reasoning-parser", f"'{key}' asks for reasoning output", shown)
        if name in self._budgets:
            return Problem("thinking-budget", f"'{key}' gives thinking a budget", shown)
        return None

    def is_ambiguous(self, key: str) -> bool:
        """Whether a key has other uses too, so that only a value that switches on counts."""
        return normalise_key(key) in self._must_not_enable

    def judge_content(self, key: str, value: object) -> Problem | None:
        """Returns what is wrong with a field of a message or a record: thoughts in a field of their own."""
        if not isinstance(value, (str, list, dict)) or not value:
            return None
        if normalise_key(key) not in self._contents or not isinstance(value, (str, list, dict)) or not value:
            return None
        if isinstance(value, str) and (is_off(value) or not value.strip()):
            return None
        return Problem("reasoning-content", f"'{key}' holds thoughts", shorten(value))

    def judge_flag(self, flag: str, value: str | None) -> Problem | None:
        """Returns what is wrong with a command-line option, or ``None``.

        Args:
            flag: The option with its dashes.
            value: What follows it; ``None`` if nothing does.
        """
        shown = shorten(flag if value is None else f"{flag} {value}")
        name = flag.lower().replace("_", "-")
        if name in self._flags:
            if value is not None and is_off(value):
                return None
            return Problem("server-flag", f"the option {flag} has to do with reasoning", shown)
        if not name.startswith("--"):
            return None
        parsed: object = True if value is None else value
        if self.canonical(flag) in self._arguments and value is not None:
            parsed = _parse_json(value.replace('\\"', '"'))
        return self.judge(flag.lstrip("-"), parsed)

    def judge_sampling(self, key: str, value: object) -> Problem | None:
        """Returns what is wrong with a sampling value of a deployment, or ``None``."""
        name = {"temp": "temperature"}.get(normalise_key(key), normalise_key(key))
        if name not in self._sampling or value is None or isinstance(value, bool):
            return None
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
        allowed = self._sampling[name]
        if abs(number - allowed) < 1e-9:
            return None
        message = f"'{key}' is {number:g} in deployment, the policy has {allowed:g}"
        return Problem("deployment-sampling", message, shorten(f"{key}={value}"))

    def _judge_arguments(self, key: str, value: object, shown: str) -> Problem | None:
        if value is None or value is UNKNOWN or is_prose(value):
            return None
        if isinstance(value, str):
            value = _parse_json(value)
        mapping = as_dict(value)
        if mapping is None:
            return None if is_off(value) else Problem("template-arguments", f"'{key}' is not a mapping", shown)
        for name, entry in mapping.items():
            problem = self.judge(name, entry)
            # The template asks whether the value *is* false: null, 0 and "false" are not.
            if problem is not None or (normalise_key(name) == "enable_thinking" and not _says_false(entry)):
                return Problem("template-arguments", f"'{key}' does not set enable_thinking to false", shown)
        if (
            _is_schema(mapping)
            or mapping.get("**") is UNKNOWN
            or any(normalise_key(name) == "enable_thinking" for name in mapping)
        ):
            return None
        return Problem("template-arguments", f"'{key}' leaves out enable_thinking, which then is true", shown)


def _is_schema(mapping: dict[str, object]) -> bool:
    return isinstance(mapping.get("type"), str) or "$ref" in mapping or "anyof" in mapping


def _says_false(value: object) -> bool:
    return value is False or (as_dict(value) is not None and is_off(value))


def _parse_json(value: str) -> object:
    try:
        parsed: object = json.loads(value)
    except ValueError:
        return value
    return parsed
