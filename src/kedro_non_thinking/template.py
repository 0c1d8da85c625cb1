"""Judging a chat template by what it renders, and giving it its non-thinking form."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import lru_cache
from types import FrameType
from typing import Any

from .errors import PolicyError
from .findings import Finding, shorten
from .policy import Policy
from .text import TextRules

_MESSAGES = (
    [{"role": "user", "content": "How many r are in strawberry?"}],
    [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Spell cat."}],
)
_TODAY = date(2024, 7, 26)
"""What a template that asks for the date is told; Llama 3's own date where it cannot ask."""
_MOST_LINES = 1_000_000
"""Qwen3's template takes some hundreds for a question; so many take a second or two."""
_OFF_LINE = "{%- set enable_thinking = false %}"


class EndlessError(BaseException):
    """A template goes on and on. No code that a template calls may catch it, as it might an ``Exception``."""


@lru_cache(maxsize=64)
def judge_template(template: str, policy: Policy) -> Finding | None:
    """Returns what is wrong with a chat template, or ``None``.

    It is rendered as a server would: told not to think, told nothing, and told to think by every name that the policy
    knows. A template that keeps the policy renders the same prompt each time, and opens no think block in it.
    """
    switches = (*policy.rules.thinking_switch.must_be_false, *policy.rules.thinking_switch.must_not_enable)
    rules = TextRules(policy)
    try:
        for switched in ({}, dict.fromkeys(switches, False)):
            render(template, _MESSAGES[0], switched)
    except PolicyError as error:
        return Finding("chat-template", str(error), shorten(template))
    try:
        for messages in _MESSAGES:
            told_off = render(template, messages, dict.fromkeys(switches, False))
            told_nothing = render(template, messages, {})
            if told_nothing != told_off:
                return Finding("chat-template", "the template thinks by default", _difference(told_off, told_nothing))
            normalised = rules.normalise(told_off)
            if "enable_thinking" in template and not rules.tags(normalised):
                return Finding("chat-template", "the prompt lacks the empty think block", shorten(told_off[-60:]))
            if rules.stray_tags(normalised):
                return Finding("chat-template", "the template opens a think block", shorten(told_off[-60:]))
            told_on = render(template, messages, dict.fromkeys(switches, True))
            if told_on != told_off:
                return Finding("chat-template", "the template can be made to think", _difference(told_off, told_on))
    except PolicyError:
        pass  # some templates refuse a system message, or to be told to think
    return None


def render(template: str, messages: list[dict[str, str]], arguments: dict[str, Any]) -> str:
    """Returns the prompt that a chat template makes, rendered the way transformers does it, on any day the same.

    Args:
        template: The template.
        messages: The conversation.
        arguments: What else the template may name: its switches, and special tokens such as ``bos_token``.

    Raises:
        PolicyError: The template cannot be rendered, or not within a bound.
    """
    try:
        compiled = _compiled(template)
        with _bounded():
            return str(compiled.render({"messages": messages, "add_generation_prompt": True, **arguments}))
    except (Exception, EndlessError) as error:  # a template is a program of somebody else: it may raise anything
        raise PolicyError(f"the template cannot be rendered ({type(error).__name__}: {shorten(str(error))})") from error


@contextmanager
def _bounded() -> Iterator[None]:
    """Ends what runs more than `_MOST_LINES` lines of Python: a template may loop, or call itself, for ever."""
    left, traced = _MOST_LINES, sys.gettrace()

    def count(_frame: FrameType, _event: str, _arg: object) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise EndlessError(f"not done after {_MOST_LINES:,} steps")
        return count

    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(traced)


@lru_cache(maxsize=16)
def _compiled(template: str) -> Any:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals.update(
        raise_exception=raise_exception, strftime_now=_TODAY.strftime, bos_token="", eos_token="", pad_token=""
    )
    # {% generation %} marks the answer for training; to a renderer it is nothing.
    return environment.from_string(re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", template))


def non_thinking_template(template: str) -> str:
    """Returns a template that renders the non-thinking prompt whatever it is asked.

    An exported folder carries this form, so that any server which reads it keeps the policy.
    """
    return template if template.startswith(_OFF_LINE) else f"{_OFF_LINE}\n{template}"


def looks_like_chat_template(text: str) -> bool:
    """Whether a Jinja file is a chat template and not the template of a page or a configuration."""
    return "messages" in text and ("add_generation_prompt" in text or "role" in text)


def _difference(expected: str, found: str) -> str:
    shared = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    return shorten(f"…{found[max(0, shared - 30) : shared + 30]}")
