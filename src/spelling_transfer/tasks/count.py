"""Count: how many times a letter occurs in a word."""

from __future__ import annotations

import random
from collections.abc import Sequence

from spelling_transfer.tasks.base import LETTERS, NumberTask, Template, make_templates

_ENGLISH_FREQUENCY = dict(zip("etaoinshrdlcumwfgypbvkjxqz", range(26, 0, -1), strict=True))
"""Weight of each letter when one that does not occur is drawn: common letters must be absent as often as rare ones,
or else a rare letter would give the answer away."""


class Count(NumberTask):
    """``How many times does the letter r occur in strawberry?`` → ``3``. The argument is the letter."""

    name = "count"
    equal_classes = ("0", "1", "2", "3+")
    templates = make_templates(
        "count",
        trained=[
            "How many times does the letter {letter} occur in {word}?",
            "How many {letter} are in {word}? Reply with a number only.",
            "Count the letter {letter} in {word}.",
            "{word}: how often does {letter} appear?",
            "How often is {letter} used in {word}?",
            "In {word}, how many letters are {letter}?",
            "Count how many times {letter} stands in {word}.",
            "{word} contains the letter {letter} how many times?",
        ],
        held_out=[
            "Tell me the number of {letter} in {word}.",
            "What is the count of the letter {letter} in {word}?",
            "{word}: how many of its letters are {letter}?",
        ],
    )

    def arguments(self, word: str, template: Template) -> Sequence[str]:
        """Returns the whole alphabet: absent letters are asked for too."""
        return list(LETTERS)

    def draw_argument(self, word: str, template: Template, rng: random.Random) -> str:
        """Draws a count that the word can give (0, 1, 2, 3 or more) first, then a letter that has it.

        Drawing a letter of the word instead would make "1" right two times in three.
        """
        by_class: dict[str, list[str]] = {}
        for letter in LETTERS:
            by_class.setdefault(self.answer_class(str(word.count(letter))), []).append(letter)
        letters = by_class[rng.choice(sorted(by_class))]
        return rng.choices(letters, [_ENGLISH_FREQUENCY[letter] for letter in letters])[0]

    def answer_class(self, answer: str) -> str:
        """Returns the count, 3 and more taken together."""
        return answer if int(answer) < 3 else "3+"

    def wording(self, argument: str) -> dict[str, str]:
        """Returns the letter asked for."""
        return {"letter": argument}

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns how often the letter occurs."""
        return str(word.count(argument))
