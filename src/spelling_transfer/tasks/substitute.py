"""Substitute: spell a word with one letter put in the place of another. Asked, not trained."""

from __future__ import annotations

from collections.abc import Sequence

from spelling_transfer.tasks.base import LETTERS, SpelledTask, Template, make_templates


class Substitute(SpelledTask):
    """``Replace every t in cat with b and spell the result.`` → ``c a b``. The argument is ``t>b``."""

    name = "substitute"
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

    def letters(self, word: str, argument: str) -> str:
        """Returns the letters of the changed word."""
        old, new = argument.split(">")
        return word.replace(old, new)
