"""Telling a sentence that forbids something from one that asks for it.

A document of this policy has to name what it forbids: "a request with `enable_thinking: true` is refused" is no
violation, "set `enable_thinking: true` for hard words" is one.
"""

from __future__ import annotations

import re

_STRONG = re.compile(
    r"\b(?:refus\w+|reject\w*|forbid\w*|forbade|prohibit\w*|disallow\w*|violat\w*|unsupported|mask(?:s|ed|ing)?"
    r"|ban(?:s|ned)|not (?:allowed|supported|permitted|accepted|possible)"
    r"|never|must not|mustn't|may not|cannot|can not|can't|impossible"
    r"|block(?:s|ed)|prevent\w*|guards? against|detect\w*|catch(?:es)?|caught|flag(?:s|ged)|strips?|stripped|scans?"
    r"|stops? (?:the|a) run|exempt\w*|is an error|are errors|raises|removed?|removes|dropped|no longer|gone"
    r"|qwen[\w.-]*(?:'s)?\s+(?:\w+\s+){0,3}default)\b"
)
_WEAK = re.compile(r"\b(?:not|no|none|nor|neither|don't|doesn't|isn't|aren't|without|instead of|rather than|free of)\b")
_HEADING = re.compile(
    r"\b(?:refus\w+|reject\w*|forbid\w*|prohibit\w*|disallow\w*|violat\w*|never|not allowed|unsupported)\b"
)
_SENTENCE_END = re.compile(r"[.!?](?=[\s\"')*_]|$)|\n[ \t]*\n|\n(?=[ \t]*(?:[-*+#>|]|\d+[.)])[ \t]?)|\n(?==+|-{3,})")
_CLAUSE_END = re.compile(r"[,;:()]|\s[-\u2013\u2014]+\s|\b(?:but|so|then|if|when|while|unless|because|and then)\b")
_LIST_LINE = re.compile(r"^\s*(?:[-*+>|]|\d+[.)]|```|~~~|\.\.|$)")


def refuses(text: str, position: int) -> bool:
    """Returns whether what stands at a position is named in order to forbid it.

    Strong words (refused, never, masked) count for the whole sentence, plain negations (not, without) only for their
    clause: "if you do not see thoughts, set …" asks for them. A list or a code block takes the meaning of the line
    with a colon, or of the heading, that introduces it.

    Args:
        text: A text in lower case.
        position: Where the thing stands.
    """
    start, end = _span(_SENTENCE_END, text, position)
    if _STRONG.search(text, start, end):
        return True
    clause_start, clause_end = _span(_CLAUSE_END, text[start:end], position - start)
    if _WEAK.search(text, start + clause_start, start + clause_end):
        return True
    return introduced_as_refused(text, start)


def _span(separator: re.Pattern[str], text: str, position: int) -> tuple[int, int]:
    """Returns the bounds of the part between separators that holds the position."""
    window_start = max(0, position - 2000)
    start = window_start
    for match in separator.finditer(text, window_start, position):
        start = match.end()
    following = separator.search(text, position)
    return start, following.start() if following else len(text)


def introduced_as_refused(text: str, start: int) -> bool:
    """Returns whether the line with a colon, or the heading, before a list or a code block says that it is refused.

    Args:
        text: A text in lower case.
        start: Where the list entry or the code block begins.
    """
    lines = text[max(0, start - 4000) : start].split("\n")
    in_list = bool(_LIST_LINE.match(text[text.rfind("\n", 0, start) + 1 : start + 4]))
    seen_intro = False
    for line in reversed(lines):
        stripped = line.strip()
        if stripped.startswith("#"):
            return bool(_HEADING.search(stripped))
        if seen_intro or _LIST_LINE.match(line):
            continue
        if stripped.endswith((":", ":`", ":**")):
            if in_list and _STRONG.search(stripped):
                return True
            seen_intro = True
    return False
