"""How an answer is marked: the verdict, and the lenient extractors that read answers out of what a model says.

Strict exact match is decided first (:meth:`spelling_transfer.tasks.base.WordTask.mark`). The extractors follow one
rule, because each breach of it is a scorer error seen in published work: **beside the answer an output may hold the
words of a short list (**:data:`FRAME` **) and what the question itself asked about, and nothing else.** So

- "3 of 5" is neither 35 nor 3, and "The letter is e" is not t;
- two different answers are no answer ("r or t"), nor is a piece of a longer thing ("3rd", "3.5", "-3", "rr");
- a hedge or a denial is no answer ("not r", "at least 2"), since the reader cannot know what is meant;
- noise makes an output unreadable rather than right by luck ("r 7", "xq r").

Blanks, punctuation, quotes and Markdown around words, capitals and the numbers of a list are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rapidfuzz.distance import Levenshtein

_SAYING_WORDS = """
answer letter letters word words is are was it's occurs occur occurrence occurrences appears appear comes stands has
have contains contain include includes count number total time times position place spelled spelt spelling spells
result reverse reversed backwards length long begins starts ends starting ending start end does there's that's
"""
_BINDING_WORDS = """
the an it its this that there in of from at by as and with to you sure certainly ok here here's exactly only just so
correct final out follows
"""
_SAYING = frozenset(_SAYING_WORDS.split())

FRAME = _SAYING | frozenset(_BINDING_WORDS.split())
"""Words that may stand around an answer; at least one must be of those that say something ("r of" says nothing)."""

_HEDGE_WORDS = """
not never no nor or neither either more less fewer than least most maximum minimum about around approximately roughly
nearly almost maybe perhaps possibly probably likely unlikely under over above below up beyond within between before
after next past except but without minus plus half wrong incorrect false unlike if unless could might may can cannot
would should seem seems guess think believe suppose estimate say unsure doubt
"""
_HEDGES = frozenset(_HEDGE_WORDS.split())
"""Words that make an answer no answer. Where one is the word asked about, it counts as that only where a sentence names
it ("the word about", "about: 5"): "about 5" is a hedge."""

_OUTER = " \t\r\n.,:;!?\"'`*_()[]{}<>“”‘’"
"""What may stand around a word without being part of it."""
_BEFORE_A_MENTION = [["in"], ["of"], ["word"], ["does"]]
_AFTER_A_MENTION = [[word] for word in ("has", "have", "contains", "contain", "includes", "include")]
_NAMES_A_HEDGE = "|".join(
    (
        r"(?:^| )(?:in|of|word) [\"“'*`]*{0}\b",
        r"[\"“'`]{0}[\"”'`]",
        r"^[*`]*{0}[*`]*(?: *[:=→]| (?:is|has|contains|includes)\b)",
    )
)
_SIGNS = {"", "=", "→", "-", "–", "—", "=>", "->"}
"""What may stand between words as a piece of its own."""

_NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_TIMES = {"once": 1, "twice": 2, "thrice": 3}
_NUMBER_WORDS = {word: number for number, word in enumerate(_NUMERALS.split())} | _TIMES
_WHOLE_NUMBER = re.compile("0|[1-9][0-9]{0,3}")
_LETTER = re.compile("[a-z]")
_PLAIN = str.maketrans(
    dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f", " ")
    | dict.fromkeys("\u2010\u2011\u2012\u2013", "-")
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", "")
    | dict.fromkeys("\u2018\u2019\u02bc", "'")
)
"""Blanks and hyphens that do not break, signs without width, and curly apostrophes."""
_PLURAL = re.compile(r"[\"“'*`_]+([a-z])[\"”'*`_]+s\b")
_NUMBERED = re.compile(r"^[ \t]*([0-9]+)[.):][ \t]+", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[-*•][ \t]+", re.MULTILINE)
_SPELLED = re.compile(r"[a-z]+|[a-z](?: +[a-z])+|[a-z](?: *\n *[a-z])+|[a-z](?: *, *[a-z])+|[a-z](?: *- *[a-z])+")


class Asked(Protocol):
    """What marking needs of an example; an :class:`Example` has it, and so has a row of the examples frame."""

    @property
    def word(self) -> str:
        """The word asked about."""

    @property
    def answer(self) -> str:
        """The right answer."""

    @property
    def argument(self) -> str:
        """The letter or index asked for; empty if the task needs none."""

    @property
    def separator(self) -> str:
        """The characters asked for between letters."""


@dataclass(frozen=True)
class Mark:
    """The verdict on one answer.

    Attributes:
        exact: The output is the right answer, character for character, blanks around it aside.
        lenient: The answer that the task's documented extractor reads in the output is right. True whenever ``exact``.
        invalid: The extractor finds no answer, or several that differ.
        read: What the extractor read, in the form of a right answer; empty if invalid.
        measures: The task's own numbers, for instance ``{"similarity": 0.9}``; absent where an output has none.
    """

    exact: bool
    lenient: bool
    invalid: bool
    read: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)


def plain(text: str) -> str:
    """Returns an output in one manner of writing: lower case, plain blanks, hyphens and apostrophes, lists unnumbered.

    Only A–Z are lowered: other alphabets must not turn into ours (the Kelvin sign lower-cases to "k"). The numbers of a
    list go where they run from 1 by ones, one at the start of each line, and are at least two; "“r”s" becomes "r's".
    """
    text = "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in text.translate(_PLAIN))
    text = _PLURAL.sub(r"\1's", text)
    numbers = [int(number) for number in _NUMBERED.findall(text)]
    if len(numbers) > 1 and numbers == list(range(1, len(numbers) + 1)):
        return _NUMBERED.sub("", text)
    return _BULLET.sub("", text) if len(_BULLET.findall(text)) > 1 else text


def is_bare(output: str, word: str) -> bool:
    """Whether an output is a word and nothing else, its letters together."""
    return plain(output).strip(_OUTER) == word


def read_spelling(output: str, echo: Collection[str] = ()) -> str | None:
    """Reads a spelled-out word in any of the four separators and returns its letters in lower case.

    The letters stand together, at least two of them, with one separator all through: blanks, line breaks, commas or
    hyphens, with blanks around them ("s t r", "s, t, r", "S-T-R"), or none ("str", where the output is that word
    alone). Words of the frame may stand before and after ("Straw is spelled s-t-r-a-w.").

    Args:
        output: What the model said.
        echo: What the question asked about, in lower case.
    """
    text = plain(output).strip(_OUTER)
    if re.fullmatch("[a-z]+", text):
        return text
    echo = {word for word in _named(text, echo) if len(word) > 1}  # a single letter is part of the spelling
    pieces = list(re.finditer(r"\S+", text))
    first, last = 0, len(pieces)
    while first < last and _is_frame(pieces[first].group(), echo):
        first += 1
    while first < last and _is_frame(pieces[last - 1].group(), echo):
        last -= 1
    around = [piece.group() for piece in pieces[:first] + pieces[last:]]
    if first == last or (around and not _says_something(around, echo)):
        return None
    marked = text[pieces[first].start() : pieces[last - 1].end()].strip(_OUTER)
    core = re.sub("[\"“”'*`_]", "", marked)
    if not _SPELLED.fullmatch(core) or (core.isalpha() and (around or core != marked)):  # "it is straw" spells nothing
        return None
    return re.sub("[^a-z]", "", core)


def read_letters(output: str, echo: Collection[str] = (), *, wanted: int = 1) -> list[str] | None:
    """Reads all letters that stand alone in an output, in order and in lower case.

    Args:
        output: What the model said.
        echo: What the question asked about, in lower case.
        wanted: How many letters an output without other words must have.
    """
    return _read_pieces(output, echo, lambda word: word if _LETTER.fullmatch(word) else None, wanted)


def read_letter(output: str, echo: Collection[str] = ()) -> str | None:
    """Reads the one letter that an output commits itself to ("The 3rd letter of straw is R."), in lower case.

    Args:
        output: What the model said.
        echo: What the question asked about, in lower case.
    """
    return _the_one(read_letters(output, echo))


def read_number(output: str, echo: Collection[str] = ()) -> int | None:
    """Reads the one whole number that an output commits itself to, in digits or in words up to fifteen.

    Args:
        output: What the model said.
        echo: What the question asked about, in lower case.
    """

    def number(word: str) -> str | None:
        if word in _NUMBER_WORDS:
            return str(_NUMBER_WORDS[word])
        return word if _WHOLE_NUMBER.fullmatch(word) else None

    found = _the_one(_read_pieces(output, echo, number))
    return None if found is None else int(found)


def read_yes_or_no(output: str, echo: Collection[str] = ()) -> str | None:
    """Reads ``yes`` or ``no``; a "not" may follow a "no", but no "yes".

    Args:
        output: What the model said.
        echo: What the question asked about, in lower case.
    """
    found = _the_one(_read_pieces(output, echo, lambda word: word if word in {"yes", "no"} else None, passed={"not"}))
    words = [piece.strip(_OUTER) for piece in plain(output).split()]
    denied = "not" in (words if found == "yes" else words[: words.index("no")] if found == "no" else [])
    return None if denied else found


def _read_pieces(
    output: str, echo: Collection[str], read: Callable[[str], str | None], wanted: int = 1, passed: Collection[str] = ()
) -> list[str] | None:
    """Returns what ``read`` makes of the blank-free pieces of an output, if all the others belong to the frame.

    A word that the question asked about is no answer. It may look like one (*no*, *one*): where nothing else answers,
    it is read as the answer unless it stands where the word asked about would stand. Without other words the answer
    stands once, or once in each of two forms ("3 (three)").
    """
    text = plain(output)
    pieces, echo = text.split(), {*_named(text, echo), *passed}
    words = [piece.strip(_OUTER) for piece in pieces]
    answers = [None if word in echo else read(word) for word in words]
    if not any(answers):
        answers = [None if _is_mention(words, place) else read(word) for place, word in enumerate(words)]
    others = [piece for piece, answer in zip(pieces, answers, strict=True) if answer is None]
    found = [answer for answer in answers if answer is not None]
    if not all(_is_frame(piece, echo) for piece in others):
        return None
    forms = {word for word, answer in zip(words, answers, strict=True) if answer is not None}
    alone = len(found) == wanted or (len(set(found)) == wanted == 1 and len(forms) == len(found))
    enough = _says_something(others, echo) if others else alone
    return found if found and enough else None


def _named(text: str, echo: Collection[str]) -> set[str]:
    """Returns what may be repeated, without hedges that the text does not name each time it has them."""
    return {
        word
        for word in echo
        if word not in _HEDGES
        or len(re.findall(_NAMES_A_HEDGE.format(word), text.strip(), re.MULTILINE))
        == len(re.findall(rf"\b{word}\b", text))
    }


def _is_mention(words: Sequence[str], place: int) -> bool:
    """Whether a word stands where a sentence names the word it is about ("in one", "the word no", "one has")."""
    return words[place - 1 : place] in _BEFORE_A_MENTION or words[place + 1 : place + 2] in _AFTER_A_MENTION


def _is_frame(piece: str, echo: Collection[str]) -> bool:
    word = piece.strip(_OUTER)
    return word in FRAME or word in echo or word in _SIGNS


def _says_something(pieces: Sequence[str], echo: Collection[str]) -> bool:
    """Whether a word of the frame that says something is there, or the word that was asked about."""
    words = [piece.strip(_OUTER) for piece in pieces]
    return any(word in _SAYING or (word in echo and len(word) > 1 and word.isalpha()) for word in words)


def _the_one(found: list[str] | None) -> str | None:
    return found[0] if found is not None and len(set(found)) == 1 else None


def spelling_similarity(word: str, letters: str) -> float:
    """Returns 1 − Levenshtein distance / length of the longer of two strings: 1 for equal, 0 for nothing in common."""
    return Levenshtein.normalized_similarity(word, letters)


def echo_of(asked: Asked) -> set[str]:
    """Returns what an output may repeat of a question: its word, and the letter, place or letters that were asked for.

    A place may be repeated as a number or an ordinal ("3", "3rd", "three", "third"; the last as "last"), a letter also
    as "r's" and, where it is all that was asked for, as "rs".
    """
    echo = {asked.word, f"{asked.word}'s"}
    for part in asked.argument.split(">"):
        if part.lstrip("-").isdigit():
            place = int(part.lstrip("-"))
            echo |= {str(place), ordinal(place), *_NUMERALS.split()[place : place + 1]}
            echo |= {*_ORDINALS.split()[place - 1 : place]}
            if part == "-1" or place == len(asked.word):
                echo.add("last")
        elif part:
            echo |= {part, f"{part}'s"}
    return echo | {f"{asked.argument}s"} if _LETTER.fullmatch(asked.argument) else echo


def ordinal(number: int) -> str:
    """Returns the English ordinal in digits: 1st, 2nd, 3rd, 4th, 11th, 21st."""
    suffix = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
