"""Reads answers out of what a model says: the lenient extractors, one for each form of answer.

Strict exact match is decided before these are asked (:meth:`spelling_transfer.tasks.base.WordTask.mark`). They share
four rules, because each breach of them is a scorer error seen in published work:

1. An output that commits itself to nothing, or to two different things, has no answer ("3 of 5" is not 35, not 3).
2. A piece of a longer thing is no answer (the "t" of "the", the "3" of "3rd", "3.5" or "-3").
3. A hedge or a denial ("not r", "at least 2", "1 or 2") has no answer, since the reader cannot know what is meant.
4. Only prose may stand around an answer; where there are no words, there must be the answer alone ("r 1" has none).
"""

from __future__ import annotations

import re

from rapidfuzz.distance import Levenshtein

_OUTER = " \t\r\n.,:;!?\"'`*_()[]{}<>“”‘’"
"""What may stand around an answer without being part of it: blanks, punctuation, quotes, Markdown."""

_DENIALS = re.compile(r"\b(?:not|never|neither|nor|cannot|\w+n['’]t)\b", re.IGNORECASE)
_HEDGES = re.compile(
    r"\b(?:no|or|except|but|least|most|more|less|fewer|about|around|roughly|approximately|almost|nearly|maybe|perhaps|"
    r"possibly|between|over|under)\b|[~≈<>≤≥±≠]",
    re.IGNORECASE,
)
_NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_NUMBER_WORDS = {word: number for number, word in enumerate(_NUMERALS.split())} | {"once": 1, "twice": 2, "thrice": 3}
_SPELLING_SEPARATOR = re.compile(r"\s*([,-])\s*|\s+")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_ARTICLE = re.compile(r"\b[ai](?=\s+[^\W\d_]{2})", re.IGNORECASE)
_PROSE = re.compile(r"[^\W\d_]{2}")


def lower_ascii(text: str) -> str:
    """Lower-cases A–Z alone: other alphabets must not turn into ours (the Kelvin sign lower-cases to "k")."""
    return "".join(chr(ord(char) + 32) if "A" <= char <= "Z" else char for char in text)


def read_spelling(output: str) -> str | None:
    """Reads a spelled-out word in any of the four separators and returns its letters in lower case.

    1. If the output, stripped of punctuation and quotes around it, is one word of letters, these are the letters
       (separator "none").
    2. Otherwise there must be a run of at least two single letters, with one separator all through: blanks, line
       breaks, or commas or hyphens with blanks around them ("s t r", "s, t, r", "S-T-R"). Words may stand around it; a
       second run must be equal, and no single letter or digit may stand apart, the article "a" and the pronoun "I"
       before a word aside.

    A digit or foreign letter in the place of a letter makes the output unreadable, and so does a denial.
    """
    text = lower_ascii(output.strip(_OUTER))
    if re.fullmatch("[a-z]+", text):
        return text
    if _DENIALS.search(text) or re.search(r"\bor\b", text):
        return None
    runs = _letter_runs(text)
    return runs.pop() if len(runs) == 1 else None


def _letter_runs(text: str) -> set[str | None]:
    """Returns the distinct runs of single letters; None stands for single characters that are no readable run."""
    runs: set[str | None] = set()
    run: list[str] = []
    separators: set[str] = set()

    def close(*, before_word: bool = False) -> None:
        readable = len(run) > 1 and len(separators) == 1 and all("a" <= letter <= "z" for letter in run)
        if readable:
            runs.add("".join(run))
        elif run and not (before_word and run in (["a"], ["i"])):
            runs.add(None)
        run.clear()
        separators.clear()

    start, separator = 0, ""
    for match in [*_SPELLING_SEPARATOR.finditer(text), None]:
        item = text[start : match.start() if match else len(text)]
        core = item.strip(_OUTER)
        if len(core) == 1 and core.isalnum():
            if not item.startswith(core):
                close()
            if run:
                separators.add(separator)
            run.append(core)
            if not item.endswith(core):
                close()
        elif item:  # a word, or a sign in the place of a letter
            close(before_word=bool(_PROSE.match(core)))
        if match:
            separator = match.group(1) or ("\n" if "\n" in match.group() else " ")
            start = match.end()
    close()
    return runs


def read_letter(output: str) -> str | None:
    """Reads the one letter that an output commits itself to, in lower case.

    1. The output, stripped of punctuation and quotes around it, is one letter.
    2. Otherwise the output is prose with exactly one distinct single letter that stands alone ("The 3rd letter is R."),
       the article "a" and the pronoun "I" before a word aside, and with no hedge or denial.
    """
    letters = read_letters(output)
    return letters[0] if letters is not None and len(set(letters)) == 1 and _one_or_prose(letters, output) else None


def read_letters(output: str) -> list[str] | None:
    """Reads all letters that stand alone in an output, in order and in lower case; None after a hedge or denial.

    A single letter of another alphabet is a letter too, and makes the output unreadable. Digits may stand in prose
    ("the 1st is s, the 2nd t") and nowhere else.
    """
    text = output.strip(_OUTER)
    if len(text) == 1:
        letters = [text]
    elif _HEDGES.search(output) or _DENIALS.search(output):
        return None
    else:
        words = _WORD.findall(_ARTICLE.sub(" ", output))
        letters = [word for word in words if len(word) == 1 and not word.isnumeric()]
        if len(words) > len(letters) and not _PROSE.search(output):
            return None
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
    2. Otherwise the output is prose with exactly one distinct number ("It occurs 3 times (three)."), and with no hedge
       or denial. Ordinals, fractions, decimals, negative numbers, ranges and percentages make it unreadable.
    """
    if _HEDGES.search(output) or _DENIALS.search(output):
        return None
    found: list[int] = []
    for piece in output.split():
        text = piece.strip(_OUTER).lower()
        is_number = any(char.isnumeric() for char in text) or any(word in _NUMBER_WORDS for word in _WORD.findall(text))
        if not is_number:
            continue
        if text in _NUMBER_WORDS:
            found.append(_NUMBER_WORDS[text])
        elif re.fullmatch("0|[1-9][0-9]{0,3}", text):
            found.append(int(text))
        else:
            return None
    return found[0] if len(set(found)) == 1 and _one_or_prose(found, output) else None


def _one_or_prose(found: list[str] | list[int], output: str) -> bool:
    """Whether what was found is all there is, or stands in prose."""
    prose = {word.lower() for word in _WORD.findall(output) if _PROSE.match(word)} - _NUMBER_WORDS.keys()
    return bool(prose) or len(output.split()) == len(found) == 1


def spelling_similarity(word: str, letters: str) -> float:
    """Returns 1 − Levenshtein distance / length of the longer of two strings: 1 for equal, 0 for nothing in common."""
    return Levenshtein.normalized_similarity(word, letters)
