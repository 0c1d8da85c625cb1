"""Code in other languages, judged as text: settings, options and blocks, but not tags that are only looked for."""

from __future__ import annotations

import re

from ..findings import Finding
from ..judge import Judge, Mode
from .source import Source

_COMMENT = re.compile(r"(?<![:\"'])//[^\n]*|/\*.*?\*/|^\s*(?:#|--)[^\n]*", re.DOTALL | re.MULTILINE)


def scan_code(source: Source, judge: Judge) -> list[Finding]:
    """Judges a file in a language that is not parsed here."""
    text = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source.text)
    normalised = judge.text_rules.normalise(text)
    problems = [problem for problem in judge.string(text, Mode.SETTING) if problem.rule != "think-tag"]
    strays = judge.text_rules.stray_tags(normalised)
    if any(_begins_thought(normalised, tag.end) for tag in strays if not tag.closing):
        problems += [problem for problem in judge.string(text, Mode.SETTING) if problem.rule == "think-tag"]
    return source.findings(problems, normalised)


def _begins_thought(text: str, end: int) -> bool:
    """Whether an opening tag is followed by a line break or a thought, and not by the end of a literal."""
    return re.match(r"\\n|\s*[a-z]", text[end : end + 20]) is not None
