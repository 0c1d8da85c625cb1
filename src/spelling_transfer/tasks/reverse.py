"""Reverse: say the letters of a word from the last to the first. Asked, not trained."""

from __future__ import annotations

from spelling_transfer.tasks.base import Asked, WordTask, make_templates
from spelling_transfer.tasks.marking import read_spelling, spelling_similarity


class Reverse(WordTask):
    """``Spell cat backwards.`` → ``t a c``."""

    name = "reverse"
    answer_has_separator = True
    templates = make_templates(
        "reverse",
        trained=[
            "Spell {word} backwards.",
            "List the letters of {word} from last to first.",
            "Write {word} backwards, with {separator} between the letters.",
            "{word}: spell it in reverse.",
            "Say the letters of {word} in reverse order.",
        ],
        held_out=[
            "How is {word} spelled from its end to its start?",
            "Reverse {word} letter by letter.",
            "{word}: give its letters from the end to the start.",
        ],
    )

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the letters from the last to the first, the separator between them."""
        return separator.join(reversed(word))

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads a spelling with any of the four separators; see :func:`~.marking.read_spelling`."""
        letters = read_spelling(output)
        return None if letters is None else asked.separator.join(letters)

    def measure(self, asked: Asked, read: str | None) -> dict[str, float]:
        """Returns ``similarity``: 1 − Levenshtein distance / length of the longer; 0 where nothing could be read."""
        letters = "" if read is None else (read.replace(asked.separator, "") if asked.separator else read)
        return {"similarity": spelling_similarity(asked.word[::-1], letters)}
