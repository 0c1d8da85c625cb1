"""Contains: does a letter occur in a word at all? Asked, not trained."""

from __future__ import annotations

import random
from collections.abc import Sequence

from spelling_transfer.tasks.base import LETTERS, Template, WordTask, make_templates
from spelling_transfer.tasks.marking import Asked, echo_of, read_yes_or_no


class Contains(WordTask):
    """``Does cat contain the letter t?`` → ``yes``. The argument is the letter."""

    name = "contains"
    equal_classes = ("yes", "no")
    templates = make_templates(
        "contains",
        trained=[
            "Does {word} contain the letter {letter}? Answer yes or no.",
            "Is there a letter {letter} in {word}? Answer yes or no.",
            "{word}: does it have the letter {letter}? Yes or no?",
            "Answer yes or no: is {letter} one of the letters of {word}?",
            "Yes or no, does {letter} occur in {word}?",
        ],
        held_out=[
            "Is {letter} used when you spell {word}? Say yes or no.",
            "Would you need {letter} to write {word}? Yes or no.",
            "{word}: is {letter} among its letters? Reply yes or no.",
        ],
    )

    def arguments(self, word: str, template: Template) -> Sequence[str]:
        """Returns the whole alphabet."""
        return list(LETTERS)

    def draw_argument(self, word: str, template: Template, rng: random.Random) -> str:
        """Draws yes or no first, then a letter."""
        wanted = rng.random() < 0.5
        return rng.choice([letter for letter in LETTERS if (letter in word) == wanted])

    def wording(self, argument: str) -> dict[str, str]:
        """Returns the letter asked for."""
        return {"letter": argument}

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns yes or no."""
        return "yes" if argument in word else "no"

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads yes or no; see :func:`~.marking.read_yes_or_no`."""
        return read_yes_or_no(output, echo_of(asked))
