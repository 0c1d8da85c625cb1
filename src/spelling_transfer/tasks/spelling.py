"""Spelling: say the letters of a word in order. The task that is trained."""

from __future__ import annotations

from spelling_transfer.tasks.base import Asked, WordTask, make_templates
from spelling_transfer.tasks.marking import read_spelling, spelling_similarity


class Spelling(WordTask):
    """``How do you spell cat?`` → ``c a t``."""

    name = "spelling"
    trained_by_default = True
    answer_has_separator = True
    templates = make_templates(
        "spelling",
        trained=[
            "Spell {word} letter by letter.",
            "How do you spell {word}? Reply with the letters only.",
            "Write {word} one letter at a time.",
            "Spell out {word} with {separator} between the letters.",
            "{word}: list its letters in order.",
            "List the letters of {word} in order.",
            "{word}, letter by letter, please.",
            "Which letters make up {word}? Put {separator} between them.",
        ],
        held_out=[
            "Break {word} into its letters.",
            "Please give me every letter of {word}, with {separator} between them.",
            "{word}: how is it spelled?",
        ],
    )

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the letters in order, the separator between them."""
        return separator.join(word)

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads a spelling with any of the four separators; see :func:`~.marking.read_spelling`."""
        letters = read_spelling(output)
        return None if letters is None else asked.separator.join(letters)

    def measure(self, asked: Asked, read: str | None) -> dict[str, float]:
        """Returns ``similarity``: 1 − Levenshtein distance / length of the longer; 0 where nothing could be read."""
        letters = "" if read is None else (read.replace(asked.separator, "") if asked.separator else read)
        return {"similarity": spelling_similarity(asked.word, letters)}
