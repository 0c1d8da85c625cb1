"""Length: how many letters a word has. Asked, not trained."""

from __future__ import annotations

from spelling_transfer.tasks.base import NumberTask, make_templates


class Length(NumberTask):
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
