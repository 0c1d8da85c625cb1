"""Length: how many letters a word has. Asked, not trained."""

from __future__ import annotations

from spelling_transfer.tasks.base import WordTask, make_templates
from spelling_transfer.tasks.marking import Asked, echo_of, read_number


class Length(WordTask):
    """``How many letters does cat have?`` → ``3``."""

    name = "length"
    templates = make_templates(
        "length",
        trained=[
            "How many letters does {word} have?",
            "How long is {word}, in letters? Reply with a number only.",
            "Count all the letters of {word}.",
            "{word}: how many letters is that?",
            "What is the number of letters in {word}?",
        ],
        held_out=[
            "Of how many letters is {word} made up?",
            "Tell me how many letters you need to write {word}.",
            "{word}: what is its length in letters?",
        ],
    )

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the number of letters."""
        return str(len(word))

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads the one number an output commits itself to; see :func:`~.marking.read_number`."""
        number = read_number(output, echo_of(asked))
        return None if number is None else str(number)

    def measure(self, asked: Asked, read: str | None, output: str) -> dict[str, float]:
        """Returns ``absolute_error``; nothing where no number could be read."""
        return {} if read is None else {"absolute_error": float(abs(int(read) - int(asked.answer)))}
