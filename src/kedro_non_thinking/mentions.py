"""Distinguishing a mention from a use: what is named in order to forbid it or to explain it is not asked for.

A document of this policy has to name what it forbids: "a request with `enable_thinking: true` is refused" is no
violation, "set `enable_thinking: true` for hard words" is one. The same holds for names in configuration and code.
"""

from __future__ import annotations

import re
from functools import lru_cache

# -- names -------------------------------------------------------------------------------------------------------------

_FORBIDDING = (
    r"forbid\w*|refus\w*|reject\w*|den(?:y|ied|ylist)\w*|ban(?:ned)?|suppress\w*|bad_words\w*|disallow\w*|prohibit\w*"
    r"|violation\w*|unsupported|blacklist\w*|exclude\w*|not_allowed|invalid|must_not\w*"
)
REFUSING_KEY = re.compile(
    rf"(?:^|_)(?:{_FORBIDDING}|block(?:ed|list|s)?|masked|mask_ids|mask_tokens|stop(?!_token_ids))(?:_|$)"
)
"""Keys of a configuration that hold what is not allowed."""
REFUSING_NAME = re.compile(
    rf"(?:^|_)(?:{_FORBIDDING}|block(?:ed|list|s)|mask\w*|stop|stop_\w+|pattern\w*|regex\w*|re|strip\w*)(?:_|$)",
    re.IGNORECASE,
)
"""Names in code of what is not allowed, or looked for."""
_TELLING = (
    r"description|why|reason|help|title|note|summary|docs?|caption|epilog|label|comment|explanation|forbids|remedy|check"
    r"|changelog"
)
TELLING_KEY = re.compile(rf"(?:^|_)(?:{_TELLING}|message|comments|reasons|notes|docstring|rationale|header)$")
"""Keys of a configuration whose texts are descriptions."""
TELLING_NAME = re.compile(rf"(?:^|_)(?:{_TELLING}|desc|msg|match|heading|hint|error|usage)$", re.IGNORECASE)
"""Names in code of messages, titles and help texts."""
DEPLOYS = re.compile(r"(?:^|[._:\s])(?:deploy|serv(?:e|ing)|endpoint)", re.IGNORECASE)
"""Names of what is deployed: a key, a tag, a namespace, a dataset."""

# -- sentences ---------------------------------------------------------------------------------------------------------

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
# Verbs that ask for something, where they ask: "the template puts" and "the tags surround" only tell.
_ASKS = re.compile(
    r"(?:^\W*|[,:;(\n]\W*|\b(?:to|please|should|must|can|may|you|we|and|or|then|always|just|simply|first|let's|now)\s+)"
    r"(?:add|append|put|use|set|pass|send|write|type|wrap|start|begin|open|prefix|prepend|prefill|insert|include|emit"
    r"|enclose|surround|enable|turn on|end the prompt|reason inside|think inside|answer inside|want|try|give|run|serve"
    r"|load|train|download|pull|deploy|evaluate|answer with|reply with)\b"
)
_ASKING_SENTENCE = re.compile(r"[.!?]\s|\n\s*\n|\n\s*(?=[-*|])")
_ASKING_END = re.compile(r"[.!?](?=\s)|\n\s*\n|\n\s*[-*|]|\Z")
_LONGEST_PART = 2000
"""Characters of a sentence before and after what stands in it: a file of one line may hold thousands of such places."""
_INLINE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)|<(code|tt|kbd|samp|pre)\b[^>]*>(.*?)</\3\s*>", re.DOTALL)


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
    start = window_start = max(0, position - _LONGEST_PART)
    for match in separator.finditer(text, window_start, position):
        start = match.end()
    window_end = min(len(text), position + _LONGEST_PART)
    following = separator.search(text, position, window_end)
    return start, following.start() if following else window_end


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


def asks(text: str, position: int) -> bool:
    """Returns whether the sentence around a position, in a text in lower case, asks for something to be done."""
    before = text[max(0, position - 400) : position]
    start = max((match.end() for match in _ASKING_SENTENCE.finditer(before)), default=0)
    end = _ASKING_END.search(text, position, position + _LONGEST_PART)
    return _ASKS.search(before[start:] + text[position : end.start() if end else len(text)]) is not None


def inline_code(text: str, position: int) -> str | None:
    """Returns the piece of inline code that holds a position, its marks included; ``None`` in running text."""
    return next((text[start:end] for start, end in _inline_spans(text) if start <= position < end), None)


@lru_cache(maxsize=1)
def _inline_spans(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(match.span() for match in _INLINE.finditer(text))
