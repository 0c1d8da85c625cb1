"""Reads answers out of what a model says: the lenient extractors, one for each form of answer.

Strict exact match is decided before these are asked (:meth:`spelling_transfer.tasks.base.WordTask.mark`). They share
three rules, because each breach of them is a scorer error seen in published work:

1. An output that commits itself to nothing, or to two different things, has no answer ("3 of 5" is not 35, not 3).
2. A piece of a longer thing is no answer (the "t" of "the", the "3" of "3rd", "3.5" or "-3").
3. A hedge or a denial ("not r", "at least 2", "1 or 2") has no answer, since the reader cannot know what is meant.
"""

from __future__ import annotations

import re

from rapidfuzz.distance import Levenshtein

_OUTER = " \t\r\n.,:;!?\"'`*_()[]{}<>“”‘’"
"""What may stand around an answer without being part of it: blanks, punctuation, quotes, Markdown."""

_HEDGES = re.compile(
    r"\b(?:not|no|never|neither|nor|or|except|but|cannot|\w+n['’]t|least|most|more|less|fewer|about|around|roughly|"
    r"approximately|almost|nearly|maybe|perhaps|possibly|between|over|under)\b|[~≈<>≤≥±≠]",
    re.IGNORECASE,
)
_DENIALS = re.compile(r"\b(?:not|never|neither|nor|\w+n['’]t)\b", re.IGNORECASE)
_NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_NUMBER_WORDS = {word: number for number, word in enumerate(_NUMERALS.split())} | {"once": 1, "twice": 2, "thrice": 3}
_SPELLING_SEPARATOR = re.compile(r"\s*([,-])\s*|\s+")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_ARTICLE = re.compile(r"\b[ai](?=\s+[^\W\d_]{2})", re.IGNORECASE)


def lower_ascii(text: str) -> str:
    """Lower-cases A–Z alone: other alphabets must not turn into ours (the Kelvin sign lower-cases to "k")."""
    return "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in text)


def read_spelling(output: str) -> str | None:
    """Reads a spelled-out word in any of the four separators and returns its letters in lower case.

    1. If the output, stripped of punctuation and quotes around it, is one word of letters, these are the letters
       (separator "none").
    2. Otherwise runs of at least two single letters are looked for, all with one separator: blanks, commas or
       hyphens, with blanks around them ("s t r", "s, t, r", "S-T-R"). All runs of an output must agree.

    A digit, sign or foreign letter in the place of a letter makes its run unreadable, and with it the output.
    """
    text = lower_ascii(output.strip(_OUTER))
    if re.fullmatch("[a-z]+", text):
        return text
    runs = _letter_runs(text)
    return runs.pop() if len(runs) == 1 and None not in runs else None


def _letter_runs(text: str) -> set[str | None]:
    """Returns the distinct runs of single characters; None stands for a run that is not all letters, one separator."""
    runs: set[str | None] = set()
    characters: list[str] = []
    separators: set[str] = set()

    def close() -> None:
        if len(characters) > 1:
            whole = len(separators) == 1 and all("a" <= char <= "z" for char in characters)
            runs.add("".join(characters) if whole else None)
        characters.clear()
        separators.clear()

    position = 0
    pending = ""
    for match in [*_SPELLING_SEPARATOR.finditer(text), None]:
        item = text[position : match.start() if match else len(text)]
        stripped = item.strip(_OUTER)
        if len(stripped) == 1 or (not stripped and item):
            opens, closes = item.startswith(stripped or item), item.endswith(stripped or item)
            if characters and not opens:
                close()
            if characters:
                separators.add(pending)
            characters.append(stripped or item)
            if not closes:
                close()
        elif stripped:
            close()
        if match:
            pending = match.group(1) or " "
            position = match.end()
    close()
    return runs


def read_letter(output: str) -> str | None:
    """Reads the one letter that an output commits itself to, in lower case.

    1. The output, stripped of punctuation and quotes around it, is one letter.
    2. Otherwise the output has exactly one distinct single letter that stands alone ("The 3rd letter is R."), the
       article "a" and the pronoun "I" before a word aside, and no hedge or denial.
    """
    letters = read_letters(output)
    return letters[0] if letters is not None and len(set(letters)) == 1 else None


def read_letters(output: str) -> list[str] | None:
    """Reads all letters that stand alone in an output, in order and in lower case; None after a hedge or denial.

    A single letter of another alphabet is a letter too, and makes the output unreadable.
    """
    text = output.strip(_OUTER)
    if len(text) == 1:
        letters = [text]
    elif _HEDGES.search(output):
        return None
    else:
        letters = [word for word in _WORD.findall(_ARTICLE.sub(" ", output)) if len(word) == 1 and not word.isdigit()]
    letters = [lower_ascii(letter) for letter in letters]
    return letters if letters and all("a" <= letter <= "z" for letter in letters) else None


def read_yes_or_no(output: str) -> str | None:
    """Reads ``yes`` or ``no`` where an output says exactly one of the two, and no "yes" beside a denial."""
    said = {word.lower() for word in _WORD.findall(output)}
    verdict: set[str] = said & {"yes", "no"}
    if len(verdict) != 1 or (verdict == {"yes"} and _DENIALS.search(output)):
        return None
    return verdict.pop()


def read_number(output: str) -> int | None:
    """Reads the one whole number that an output commits itself to, in digits or in words up to fifteen.

    1. The output, stripped of punctuation and quotes around it, is one number.
    2. Otherwise the output has exactly one distinct number ("It occurs 3 times (three)."), and no hedge or denial.
       Ordinals, fractions, decimals, negative numbers, ranges and percentages are not counts: they make it unreadable.
    """
    if _HEDGES.search(output):
        return None
    found: set[int] = set()
    for piece in output.split():
        for word in _number_pieces(piece):
            number = _whole_number(word)
            if number is None:
                return None
            found.add(number)
    return found.pop() if len(found) == 1 else None


def _number_pieces(piece: str) -> list[str]:
    """Returns what looks like a number in a blank-free piece of text, whole: "3.5" and "2/3" stay together."""
    stripped = piece.strip(_OUTER)
    if any(char.isnumeric() for char in stripped):
        return [stripped]
    return [word for word in _WORD.findall(stripped.lower()) if word in _NUMBER_WORDS]


def _whole_number(text: str) -> int | None:
    if text.lower() in _NUMBER_WORDS:
        return _NUMBER_WORDS[text.lower()]
    return int(text) if re.fullmatch("0|[1-9][0-9]{0,3}", text) else None


def spelling_similarity(word: str, letters: str) -> float:
    """Returns 1 − Levenshtein distance / length of the longer of two strings: 1 for equal, 0 for nothing in common."""
    return Levenshtein.normalized_similarity(word, letters)
