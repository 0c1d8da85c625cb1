"""Judging texts by all rules at once: strings of a configuration, descriptions, examples, names of models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from .findings import shorten
from .keys import KeyRules, Problem
from .prose import refuses
from .rules import Policy
from .text import Tag, TextRules, excerpt
from .values import is_off, is_on


class Mode(Enum):
    """What a text is, which decides how much of it is a mention and how much is meant."""

    SETTING = "setting"  # a value in a configuration, a string in code
    PROSE = "prose"  # a description: a sentence that forbids is fine
    DATA = "data"  # an example, an answer: no tag at all, but for the end of a prompt


# Without one of these a text can break no rule. All in lower case.
_TRIGGERS = (
    *("think", "reasoning", "151667", "151668", "chat_template", "chat-template", "template_kwargs", "render_jinja"),
    *("generation_prompt", "disable_hooks", "<|im_start|>", ".chat(", " -re", "fromhex", "b64decode"),
    "label_start",  # examples: what is wrong with them may be what they do not hold
)
_SAMPLING_TRIGGERS = ("temp", "top_", "top-", "min_p", "min-p")
# A tag in pieces, "<th" + "ink>", or with gaps, < t h i n k >
_PIECES = re.compile(
    r"<[\s/]*(?:thin?|thi|th|t)[\"']|[\"'](?:hink|ink|nk|k)\s*>|<[\s/\\|]*t[\s\\|]*h[\s\\|]*i[\s\\|]*n[\s\\|]*k"
)
_TRUE_TEXTS = frozenset({"!0", "${true}"})
_FLAG = re.compile(
    r"(?<![\w-])(--?[a-z][\w-]+)(?:(?:=|[ \t]+|[\"'],\s*[\"']?|[ \t]*\\\n\s*)"
    r"('[^'\n]*'|\"(?:[^\"\\\n]|\\.)*\"|[^\s\"'\\,;|&)\]`-][^\s\"'\\,;|&)\]`]*|-\d+|\"\"|''))?",
    re.IGNORECASE,
)
_MODEL = re.compile(r"[a-z0-9][\w.-]*(?:/[\w.-]+)?(?::[\w.-]+)?", re.IGNORECASE)
_OPEN_TURN = re.compile(r"<\|im_start\|>\s*assistant(?:\s|\\n)*\Z")
_PROMPT_BLOCK = re.compile(r"<\|im_start\|>assistant(?:\n|\\n)<think>(?:\n|\\n){2}</think>(?:(?:\n|\\n){2}|\Z)")


class TextJudge:
    """The rules of a policy, ready to be applied to texts."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.text_rules = TextRules(policy)
        self.keys = KeyRules(policy)
        self._models = [re.compile(pattern, re.IGNORECASE) for pattern in policy.rules.thinking_only_model.patterns]
        # The longest plain part of each pattern: a text without any of them names no such model.
        self.model_words = tuple(_longest_word(pattern) for pattern in policy.rules.thinking_only_model.patterns)

    def may_break(self, text: str, *, deployment: bool = False) -> bool:
        """Returns whether a text could break a rule at all: fast, and true more often than need be.

        Most files and most strings end here, so a check of thousands of files takes seconds.
        """
        low = text.lower()
        if any(word in low for word in _TRIGGERS) or any(word in low for word in self.model_words):
            return True
        if (deployment or "serve" in low) and any(word in low for word in _SAMPLING_TRIGGERS):
            return True
        if _PIECES.search(low.replace("\\n", " ").replace("\\t", " ") if "\\" in low else low):
            return True
        if low.isascii() and not self.text_rules.may_be_escaped(low):
            return False
        normalised = self.text_rules.normalise(low)
        return any(word in normalised for word in _TRIGGERS) or bool(self.text_rules.tags(normalised))

    # -- names of models -------------------------------------------------------------------------------------------

    def model(self, name: str) -> Problem | None:
        """Returns what is wrong with the name of a model, or ``None``."""
        if len(name) > 200 or not any(pattern.search(name) for pattern in self._models):
            return None
        return Problem("thinking-only-model", f"{name} has no non-thinking mode", name)

    def models_in(self, text: str) -> Iterator[Problem]:
        """Yields the thinking-only models that a command or a path names."""
        for match in _MODEL.finditer(text):
            problem = self.model(match[0].rstrip("."))
            if problem is not None:
                yield Problem(problem.rule, problem.message, problem.value, match.start())

    # -- texts ---------------------------------------------------------------------------------------------------------

    def string(self, text: str, mode: Mode = Mode.SETTING) -> list[Problem]:
        """Returns what is wrong with a text; offsets count in the normalised text, which keeps the line breaks."""
        if len(text) < 2:
            return []
        normalised = self.text_rules.normalise(text)
        problems = [*self._marks(normalised, mode)]
        if mode is not Mode.DATA:
            if mode is Mode.SETTING and "im_start" in normalised:
                problems += self._open_turn(normalised)
            problems += self.settings_in(normalised)
            if mode is Mode.SETTING and _is_name(text):
                found = self.model(text.strip())
                problems += [found] if found else []
            elif mode is Mode.SETTING and "--" in text:
                problems += self.models_in(text)
        if mode is Mode.PROSE:
            problems = [problem for problem in problems if not refuses(normalised, problem.offset)]
        return problems

    def settings_in(self, normalised: str) -> Iterator[Problem]:
        """Yields settings and options that stand inside a text, in a command or in the body of a request."""
        if not any(word in normalised for word in ("think", "rea", "template")):
            return
        for match in self.keys.assignment.finditer(normalised):
            if _means_value(match, normalised):
                value = match[2].strip("\"'").rstrip(".")
                judged: object = True if value in _TRUE_TEXTS else value
                if value.startswith(("{", "[")) and self.keys.canonical(match[1]) != "chat_template_kwargs":
                    judged = value if not is_off(value[1:-1]) else None
                problem = self.keys.judge(match[1].replace("-", "_"), judged)
                if problem is not None:
                    yield Problem(problem.rule, problem.message, shorten(match[0]), match.start())
        yield from self.flags_in(normalised)

    def flags_in(self, text: str) -> Iterator[Problem]:
        """Yields command-line options that are refused."""
        if "-" not in text:
            return
        for match in _FLAG.finditer(text):
            flag, value = match[1], match[2]
            if value is not None:
                value = value[1:-1] if value[:1] in "\"'" and value[-1:] == value[:1] else value
            problem = self.keys.judge_flag(flag, value)
            if problem is not None:
                yield Problem(problem.rule, problem.message, problem.value, match.start())

    def _marks(self, normalised: str, mode: Mode) -> Iterator[Problem]:
        for tag in self.tags(normalised, mode):
            kind = "closing" if tag.closing else "opening"
            yield Problem("think-tag", f"{kind} think tag", excerpt(normalised, tag.start), tag.start)
        for position in self.text_rules.switches(normalised):
            yield Problem("soft-switch", "soft switch that turns thinking on", excerpt(normalised, position), position)

    def tags(self, normalised: str, mode: Mode) -> list[Tag]:
        """Returns the tags that must not be in a normalised text of this kind."""
        if mode is not Mode.DATA:
            return self.text_rules.stray_tags(normalised)
        tags = self.text_rules.tags(normalised)
        if not tags:
            return []
        allowed = [match.span() for match in _PROMPT_BLOCK.finditer(normalised)]
        return [tag for tag in tags if not any(start <= tag.start < end for start, end in allowed)]

    def _open_turn(self, normalised: str) -> Iterator[Problem]:
        match = _OPEN_TURN.search(normalised)
        if match:
            message = "prompt ends in an assistant turn without the empty think block"
            yield Problem("chat-template", message, excerpt(normalised, match.start()), match.start())


def _longest_word(pattern: str) -> str:
    plain = re.sub(r"\[[^\]]*\]|\\.|\(\?[^)]*\)", " ", pattern)
    words: list[str] = re.findall(r"[a-z0-9-]+", plain)
    return max(words, key=len).strip("-")


def _is_name(text: str) -> bool:
    return bool(_MODEL.fullmatch(text.strip()))


def _means_value(match: re.Match[str], text: str) -> bool:
    """Tells a setting from prose: a name, a colon and a value, and nothing after them, is a setting."""
    value = match[2].strip("\"'")
    if value in {"bool", "boolean", "str", "int", "optional", "literal", "dict", "mapping", "any", "object"}:
        return False
    between = text[match.end(1) : match.start(2)]
    if "=" in between:
        return True
    if is_on(value) or value in _TRUE_TEXTS or match[2][:1] in "\"'{[$" or re.fullmatch(r"-?\d+", value):
        return True
    return bool(re.match(r"[ \t]*(?:$|[\n,;}\])`\"']|#)", text[match.end() :]))
