"""Reverse: say the letters of a word from the last to the first. Asked, not trained."""

from __future__ import annotations

from spelling_transfer.tasks.base import SpelledTask, make_templates


class Reverse(SpelledTask):
    """``Spell cat backwards.`` → ``t a c``."""

    name = "reverse"
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

    def letters(self, word: str, argument: str) -> str:
        """Returns the letters from the last to the first."""
        return word[::-1]
