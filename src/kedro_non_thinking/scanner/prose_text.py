"""Running text with inline code, in which a mention is not a use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..judge import Judge
from ..keys import Problem
from ..prose import refuses
from ..text import excerpt

_INLINE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)|<(code|tt|kbd|samp|pre)\b[^>]*>(.*?)</\3\s*>", re.DOTALL)
# Verbs that ask for something, where they ask: "the template puts" and "the tags surround" only tell.
_ASKS = re.compile(
    r"(?:^\W*|[,:;(\n]\W*|\b(?:to|please|should|must|can|may|you|we|and|or|then|always|just|simply|first|let's|now)\s+)"
    r"(?:add|append|put|use|set|pass|send|write|type|wrap|start|begin|open|prefix|prepend|prefill|insert|include|emit"
    r"|enclose|surround|enable|turn on|end the prompt|reason inside|think inside|answer inside|want|try|give|run|serve"
    r"|load|train|download|pull|deploy|evaluate|answer with|reply with)\b"
)
_ASKS_FOR_MODE = re.compile(
    r"\b(?:enable|activate|turn on|switch on|use|run in|start in|switch to)\s+(?:the\s+)?"
    r"(?:thinking|reasoning)[\s-]mode\b"
)
# "set `enable_thinking` to `true`": a setting without a sign
_SET_TO = re.compile(
    r"\b(enable_thinking|enable_reasoning|include_reasoning|thinking)[\"'`]*\s+to\s+[\"'`]*(true|on|1|yes|enabled)\b"
)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def judge_prose(normalised: str, judge: Judge) -> list[Problem]:
    """Returns what is wrong with a normalised running text: what it asks for, not what it names or forbids."""
    problems = [*_tags(normalised, judge), *_switches(normalised, judge), *_models(normalised, judge)]
    settings = [*judge.settings_in(normalised), *_asked_for(normalised)]
    return problems + [problem for problem in settings if not refuses(normalised, problem.offset)]


def _asked_for(normalised: str) -> Iterator[Problem]:
    if "think" not in normalised and "reason" not in normalised:
        return
    for match in _SET_TO.finditer(normalised):
        yield Problem(
            "thinking-switch", f"'{match[1]}' switches thinking on", excerpt(normalised, match.start()), match.start()
        )
    for match in _ASKS_FOR_MODE.finditer(normalised):
        yield Problem("thinking-switch", "asks for thinking mode", excerpt(normalised, match.start()), match.start())


def _tags(normalised: str, judge: Judge) -> Iterator[Problem]:
    tags = judge.text_rules.stray_tags(normalised)
    if not tags:
        return
    spans = [match.span() for match in _INLINE.finditer(normalised)]
    for tag in tags:
        span = next(((start, end) for start, end in spans if start <= tag.start < end), None)
        mention = span is not None and _only_names(normalised[slice(*span)], judge) and not _asks(normalised, tag.start)
        if not mention and not refuses(normalised, tag.start):
            kind = "closing" if tag.closing else "opening"
            yield Problem("think-tag", f"{kind} think tag", excerpt(normalised, tag.start), tag.start)


def _only_names(span: str, judge: Judge) -> bool:
    """Whether inline code holds tags and nothing that could be a thought."""
    rest = span
    for tag in reversed(judge.text_rules.tags(span)):
        rest = rest[: tag.start] + rest[tag.end :]
    rest = re.sub(r"</?(?:code|tt|kbd|samp|pre)\b[^>]*>|\\n|<\|im_start\|>assistant", "", rest)
    return not re.sub(r"[\s`.\u2026,/'\"]", "", rest)


def _switches(normalised: str, judge: Judge) -> Iterator[Problem]:
    positions = judge.text_rules.switches(normalised)
    if not positions:
        return
    spans = [match.span() for match in _INLINE.finditer(normalised)]
    for position in positions:
        named = any(start <= position < end and end - start <= 12 for start, end in spans)
        if (named and not _asks(normalised, position)) or refuses(normalised, position):
            continue
        yield Problem("soft-switch", "soft switch that turns thinking on", excerpt(normalised, position), position)


def _models(normalised: str, judge: Judge) -> Iterator[Problem]:
    if not any(word in normalised for word in judge.model_words):
        return
    for problem in judge.models_in(normalised):
        if (
            _REPOSITORY.match(problem.value)
            and _asks(normalised, problem.offset)
            and not refuses(normalised, problem.offset)
        ):
            yield problem


def _asks(normalised: str, position: int) -> bool:
    before = normalised[max(0, position - 400) : position]
    start = max((match.end() for match in re.finditer(r"[.!?]\s|\n\s*\n|\n\s*(?=[-*|])", before)), default=0)
    end = re.compile(r"[.!?](?=\s)|\n\s*\n|\n\s*[-*|]|\Z").search(normalised, position)
    sentence = before[start:] + normalised[position : end.start() if end else len(normalised)]
    return _ASKS.search(sentence) is not None
