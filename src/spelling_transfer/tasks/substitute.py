"""Substitute: spell a word with one letter put in the place of another. Asked, not trained."""

from __future__ import annotations

from collections.abc import Sequence

from spelling_transfer.tasks.base import LETTERS, Asked, Template, WordTask, make_templates
from spelling_transfer.tasks.marking import read_spelling, spelling_similarity


class Substitute(WordTask):
    """``Replace every t in cat with b and spell the result.`` → ``c a b``. The argument is ``t>b``."""

    name = "substitute"
    answer_has_separator = True
    templates = make_templates(
        "substitute",
        trained=[
            "Replace every {old} in {word} with {new} and spell the result.",
            "Spell {word} with {new} instead of {old}.",
            "In {word}, change each {old} to {new}, then list the letters.",
            "{word}: spell it with {new} in the place of {old}.",
            "Write {word} one letter at a time, but with {new} for {old}.",
        ],
        held_out=[
            "Put {new} wherever {word} has {old}, and spell what comes out.",
            "What are the letters of {word} if {old} becomes {new}?",
            "{word}: swap {old} for {new} and give the letters.",
        ],
    )

    def arguments(self, word: str, template: Template) -> Sequence[str]:
        """Returns each letter of the word with each letter that it does not have."""
        present = sorted(set(word))
        return [f"{old}>{new}" for old in present for new in LETTERS if new not in word]

    def wording(self, argument: str) -> dict[str, str]:
        """Returns the letter that goes and the one that comes."""
        old, new = argument.split(">")
        return {"old": old, "new": new}

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the letters of the changed word, the separator between them."""
        old, new = argument.split(">")
        return separator.join(word.replace(old, new))

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads a spelling with any of the four separators; see :func:`~.marking.read_spelling`."""
        letters = read_spelling(output)
        return None if letters is None else asked.separator.join(letters)

    def measure(self, asked: Asked, read: str | None) -> dict[str, float]:
        """Returns ``similarity``: 1 − Levenshtein distance / length of the longer; 0 where nothing could be read."""
        old, new = asked.argument.split(">")
        letters = "" if read is None else (read.replace(asked.separator, "") if asked.separator else read)
        return {"similarity": spelling_similarity(asked.word.replace(old, new), letters)}
