"""First and last: the letters at both ends of a word. Asked, not trained."""

from __future__ import annotations

import re

from spelling_transfer.tasks.base import WordTask, make_templates
from spelling_transfer.tasks.marking import Asked, echo_of, read_letters


class FirstLast(WordTask):
    """``What are the first and the last letter of cat?`` → ``c t``."""

    name = "first_last"
    templates = make_templates(
        "first_last",
        trained=[
            "What are the first and the last letter of {word}?",
            "Give the first letter and the last letter of {word}. Reply with the letters only.",
            "With which letters does {word} start and end?",
            "{word}: which letters are first and last?",
            "Name the two letters at the start and at the end of {word}.",
        ],
        held_out=[
            "Tell me the letter {word} begins with and the letter it ends with.",
            "Between which two letters do all the others of {word} stand?",
            "{word}: what are its two outer letters, in order?",
        ],
    )

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the first and the last letter with a space between."""
        return f"{word[0]} {word[-1]}"

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads the two letters an output commits itself to, in their order; see :func:`~.marking.read_letters`."""
        text = output.replace(",", " ").replace("&", " and ")
        said = re.search(r"\b(?:(first|start(?:s|ing)?|begins?)|(last|end(?:s|ing)?))\b", text.lower())
        if said is not None and said.group(2):  # "the last is s, the first is w" gives them in the other order
            return None
        letters = read_letters(text, {*echo_of(asked), "and", "first", "last", "respectively"}, wanted=2)
        return " ".join(letters) if letters is not None and len(letters) == 2 else None
