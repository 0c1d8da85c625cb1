"""Position: which letter stands at a place, counted from 1, from the start or from the end."""

from __future__ import annotations

from collections.abc import Sequence

from spelling_transfer.tasks.base import Template, WordTask, make_templates
from spelling_transfer.tasks.marking import Asked, echo_of, ordinal, read_letter

FROM_END = "from_end"


class Position(WordTask):
    """``What is the 2nd letter of cat?`` → ``a``. The argument is the place, negative from the end (-1 is the last)."""

    name = "position"
    templates = make_templates(
        "position",
        trained=[
            "What is the {ordinal} letter of {word}?",
            "Which letter is number {number} in {word}? Reply with the letter only.",
            "Give the letter at position {number} of {word}.",
            "{word}: what is letter number {number}?",
            "In {word}, which letter comes {ordinal}?",
            ("What is the {ordinal} letter from the end of {word}?", FROM_END),
            ("Counting from the end of {word}, which letter is number {number}?", FROM_END),
            ("{word}: which letter is {ordinal} from the end?", FROM_END),
        ],
        held_out=[
            "Name the letter in place {number} of {word}.",
            "Take {word} and tell me its {ordinal} letter.",
            ("Read {word} backwards: which letter is number {number}?", FROM_END),
        ],
    )

    def arguments(self, word: str, template: Template) -> Sequence[str]:
        """Returns every place of the word, the last one included."""
        sign = -1 if template.variant == FROM_END else 1
        return [str(sign * place) for place in range(1, len(word) + 1)]

    def wording(self, argument: str) -> dict[str, str]:
        """Returns the place as a number and as an ordinal."""
        place = abs(int(argument))
        return {"number": str(place), "ordinal": ordinal(place)}

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the letter at the place."""
        place = int(argument)
        return word[place - 1] if place > 0 else word[place]

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads the one letter an output commits itself to; see :func:`~.marking.read_letter`."""
        return read_letter(output, echo_of(asked))
