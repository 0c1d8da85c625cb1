"""Spelling: say the letters of a word in order. The task that is trained."""

from __future__ import annotations

from spelling_transfer.tasks.base import SpelledTask, make_templates


class Spelling(SpelledTask):
    """``How do you spell cat?`` → ``c a t``."""

    name = "spelling"
    trained_by_default = True
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

    def letters(self, word: str, argument: str) -> str:
        """Returns the letters in order."""
        return word
