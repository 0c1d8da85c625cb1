"""Finding think tags and soft switches in text, also in disguise: escaped, spaced, split, in look-alike characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .policy import Policy

# Characters that are drawn like the ones of a tag; NFKD has already taken care of full-width and styled letters.
DRAWN_LIKE = {
    "<": "\u2039\u3008\u27e8\u227a\u1438\u02c2\u25c1\u22d6\u276e\u276c\u27ea\u00ab\u22b0",
    ">": "\u203a\u3009\u27e9\u227b\u1433\u02c3\u25b7\u22d7\u276f\u276d\u27eb\u00bb\u22b1",
    "/": "\u2044\u2215\u29f8\u2571",
    "t": "\u0442\u03c4\u1d1b\u0167\u01ad",
    "h": "\u04bb\u0570\u0266\u029c\u043d",
    "i": "\u0456\u0131\u03b9\u026a\u04cf\u01c0",
    "n": "\u043f\u057c\u0578\u0274\u03b7",
    "k": "\u043a\u03ba\u0138\u1d0b\u049b\u03f0",
    "g": "\u0261\u0581\u050d",
}
_LOOK_ALIKES = str.maketrans({char: letter for letter, chars in DRAWN_LIKE.items() for char in chars})
# Marks that sit on a letter, and characters that are not drawn at all.
_INVISIBLE = re.compile(
    "[\u00ad\u0300-\u036f\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20d0-\u20ff\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e01ef]"
)

# One set of first characters, as a search for them is many times faster than one for alternatives.
_ESCAPES = re.compile(
    r"[&\\%](?:(?<=&)(?:#(?P<dec>\d{1,7})|#x(?P<hex>[0-9a-f]{1,6})|(?P<name>lt|gt|sol|amp|nbsp|zwnj|zwj|shy));?"
    # A run of backslashes is looked at from its first one alone: from each, a long run would take for ever.
    r"|(?<=(?<!\\)\\)(?:\\*u\{(?P<brace>[0-9a-f]{1,6})\}|\\*u(?P<u>[0-9a-f]{4}))"
    r"|(?<=\\)(?P<oct>0?(?:7[46]|57))(?!\d)"
    r"|(?P<bytes>(?<=(?<!\\)\\)\\*x[0-9a-f]{2}(?:\\+x[0-9a-f]{2})*|(?<=%)[0-9a-f]{2}(?:%[0-9a-f]{2})*))"
)
_MAY_ESCAPE = re.compile(r"&(?:#|lt|gt|sol|amp|nbsp|zw|shy)|\\[ux057]|%[0-9a-f]{2}")
_NAMED = {"lt": "<", "gt": ">", "sol": "/", "amp": "&", "nbsp": " ", "zwnj": "", "zwj": "", "shy": ""}
# A resolved line break would move the lines.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_FOREIGN = re.compile("[^\x00-\x7f]+")
_ASCII_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True)
class Tag:
    """A think tag in a normalised text: where it stands and whether it closes."""

    start: int
    end: int
    closing: bool


class TextRules:
    """The text rules of a policy, ready to be applied.

    All positions are positions in :meth:`normalise`'s text, which has the same line breaks as the original.
    """

    def __init__(self, policy: Policy) -> None:
        names = sorted(policy.rules.think_tag.tags, key=len, reverse=True)
        gap = r"[\s\\|]*+"  # gives nothing back: of a long gap, each of its parts would be tried
        letters = (re.sub(r"[\s\\|]", "", name.lower()) for name in names)
        spelled = "|".join(gap.join(map(re.escape, name)) for name in letters)
        self._tag = re.compile(rf"<{gap}(/?){gap}(?:{spelled})(?:\s++[\w-]++\s*+=[^<>]*+)?{gap}/?{gap}>")
        words = "|".join(re.escape(word.lower()) for word in policy.rules.soft_switch.switches)
        # A soft switch is a word of its own: not a part of a path, of an address or of a longer word.
        # "What is 3+4?/think" holds one, "./think", "C:/think" and "a/think" do not.
        before = r"(?:(?<![\w/~<\\*@#=&%+-])(?<!(?<!\w)\.)(?<!(?<!\w\w):)|(?<=\\n)|(?<=\\t))"
        self._switch = re.compile(rf"{before}(?:{words})(?![\w/*=-]|\.\w)")
        self._switch_words = tuple(word.lower() for word in policy.rules.soft_switch.switches)

    def normalise(self, text: str) -> str:
        """Returns the text in lower case with escapes resolved, invisible characters gone and look-alikes replaced."""
        lowered = text.lower()
        for _ in range(3):  # an escape may itself be escaped
            if _MAY_ESCAPE.search(lowered) is None:
                break
            resolved = _ESCAPES.sub(_resolve, lowered)
            if resolved == lowered:
                break
            lowered = resolved.lower()
        if not lowered.isascii():
            lowered = _FOREIGN.sub(_fold, lowered)  # what is folded never reaches across a letter of ASCII
        return _ASCII_CONTROL.sub("", lowered)

    def may_be_escaped(self, lowered: str) -> bool:
        """Returns whether a text in lower case could hold an escaped character, or one that is not shown."""
        return _MAY_ESCAPE.search(lowered) is not None or _ASCII_CONTROL.search(lowered) is not None

    def tags(self, normalised: str) -> list[Tag]:
        """Returns the think tags of a normalised text."""
        if "<" not in normalised:
            return []
        return [Tag(match.start(), match.end(), bool(match[1])) for match in self._tag.finditer(normalised)]

    def stray_tags(self, normalised: str) -> list[Tag]:
        """Returns the tags that are not a pair with nothing but white space in between, as a prompt has it."""
        left: list[Tag] = []
        for tag in self.tags(normalised):
            if tag.closing and left and not left[-1].closing:
                between = normalised[left[-1].end : tag.start]
                if not re.sub(r"\\[nrt]|\s", "", between):  # a written line break is white space, too
                    left.pop()
                    continue
            left.append(tag)
        return left

    def switches(self, normalised: str) -> list[int]:
        """Returns where soft switches stand."""
        if not any(word in normalised for word in self._switch_words):
            return []
        return [match.start() for match in self._switch.finditer(normalised)]


def cut(text: str, tags: Sequence[Tag]) -> str:
    """Returns a text without some of its tags."""
    for tag in reversed(tags):
        text = text[: tag.start] + text[tag.end :]
    return text


def plain_part(pattern: str) -> str:
    """Returns the longest text that every match of a pattern holds, in lower case; empty where there is none."""
    plain = re.sub(r"\[[^\]]*\]|\\.", "\t", pattern)
    while (inner := re.sub(r"\([^()]*\)", "\t", plain)) != plain:
        plain = inner
    if "|" in plain:
        return ""
    words: list[str] = re.findall(r"[a-z0-9_-]+", re.sub(r".[?*]|.\{[^}]*\}", "\t", plain.lower()))
    return max(words, key=len, default="")


def places_of(words: Iterable[str], text: str) -> list[int]:
    """Returns where any of some words in lower case begins in a text of any case, sorted.

    A page of 5 MB is searched for a word in a few milliseconds; for a pattern of alternatives it takes half a second.
    """
    # The letters that a pattern without regard to case takes for i and s; the first is two characters in lower case.
    low = text.lower() if text.isascii() else re.sub("[\u0130\u0131]", "i", text).replace("\u017f", "s").lower()
    found = set[int]()
    for word in words:
        place = low.find(word)
        while place >= 0:
            found.add(place)
            place = low.find(word, place + 1)
    return sorted(found)


def runs_with(words: Iterable[str], text: str, run: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yields the bounds of each run of characters that holds one of some words.

    Args:
        words: Texts in lower case.
        text: A text of any case.
        run: One or more of the characters of a run, which are also those of the words.
    """
    end = 0
    for place in places_of(words, text):
        if place < end:
            continue
        start = place
        while start > end and run.match(text, start - 1):
            start -= 1
        whole = run.match(text, start)
        end = whole.end() if whole else start
        yield start, end


def line_of(text: str, position: int) -> int:
    """Returns the line of a position, counted from 1."""
    return text.count("\n", 0, position) + 1


def excerpt(text: str, position: int, *, before: int = 20, after: int = 60) -> str:
    """Returns the surroundings of a position on one line."""
    return " ".join(text[max(0, position - before) : position + after].split())


def _resolve(match: re.Match[str]) -> str:
    if match["name"]:
        return _NAMED[match["name"]]
    if match["bytes"]:
        data = bytes.fromhex(re.sub(r"\\+x|%", "", match[0]))
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        return _CONTROLS.sub(" ", text)
    if match["oct"]:
        code = int(match["oct"], 8)
    elif match["dec"]:
        code = int(match["dec"])
    else:
        code = int(match["hex"] or match["brace"] or match["u"], 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return " "
    return _CONTROLS.sub(" ", chr(code))


def _fold(match: re.Match[str]) -> str:
    decomposed = unicodedata.normalize("NFKD", match[0])
    return _INVISIBLE.sub("", decomposed).lower().translate(_LOOK_ALIKES)
