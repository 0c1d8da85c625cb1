"""What a task is: wordings, how an example is made from a word, the right answer, and how an answer is marked."""

from __future__ import annotations

import random
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.marking import (
    Asked,
    Mark,
    echo_of,
    is_bare,
    read_number,
    read_spelling,
    spelling_similarity,
)

LETTERS = string.ascii_lowercase

SEPARATORS: Mapping[str, tuple[str, str]] = {
    "space": (" ", "a space"),
    "comma": (",", "a comma"),
    "hyphen": ("-", "a hyphen"),
    "none": ("", "nothing"),
}
"""Name of each separator between letters, with its characters and its wording in a question."""

DEFAULT_SEPARATOR = SEPARATORS["space"][0]
_SEPARATOR_WORDINGS = dict(SEPARATORS.values())


class TaskError(SpellingTransferError):
    """A task cannot be loaded, or cannot ask what it was told to ask."""


@dataclass(frozen=True)
class Template:
    """One wording of a task.

    The word stands after a plain space or at the very start of the question, never behind a quote, so that its tokens
    are the ones it has in running text.

    Attributes:
        name: Task and number, for instance ``"spelling/03"``.
        text: The question with its placeholders: ``{word}``, and what the task fills in beside it.
        held_out: Whether the wording is kept out of all training, to measure that a skill is not tied to a wording.
        variant: A task's own distinction between its wordings, for instance ``"from_end"``.
    """

    name: str
    text: str
    held_out: bool = False
    variant: str = ""

    @property
    def bare(self) -> bool:
        """Whether the word opens the question, and so has its tokens without a space before it."""
        return self.text.startswith("{word}")

    @property
    def asks_separator(self) -> bool:
        """Whether the wording names the separator; the others leave it at the default, one space."""
        return "{separator}" in self.text


@dataclass(frozen=True)
class Example:
    """A question about a word with its right answer.

    Attributes:
        template_held_out: Whether the wording is never trained on.
        word: The word asked about, in lower case.
        answer: What the model should say, and nothing else.
        argument: The letter or index asked for; empty if the task needs none.
        separator: The characters that must stand between the letters of the answer; empty if there are none.
    """

    task: str
    template: str
    template_held_out: bool
    word: str
    question: str
    answer: str
    argument: str = ""
    separator: str = ""


@runtime_checkable
class Task(Protocol):
    """A task as the pipelines use it. A class of your own need not inherit anything; see ``docs/tasks.md``."""

    @property
    def name(self) -> str:
        """Unique name, equal to that of the entry point."""

    @property
    def trained_by_default(self) -> bool:
        """Whether the default mixture trains on the task; the others are only asked in evaluation."""

    @property
    def templates(self) -> Sequence[Template]:
        """At least one wording; the tasks of this package have at least eight, three of them held out."""

    @property
    def equal_classes(self) -> Sequence[str]:
        """Answer classes that a test set holds in equal numbers for every argument; empty where there are many."""

    def arguments(self, word: str, template: Template) -> Sequence[str]:
        """Returns everything the wording may ask of the word; ``[""]`` if there is nothing to choose."""

    def answer_class(self, answer: str) -> str:
        """Returns the class over which answers are balanced; the answer itself unless a task groups them."""

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the right answer."""

    def make(
        self,
        word: str,
        rng: random.Random,
        *,
        template: Template | None = None,
        argument: str | None = None,
        separator: str = DEFAULT_SEPARATOR,
        shown: str | None = None,
    ) -> Example:
        """Returns an example; what is not given is drawn.

        Args:
            word: The word, in lower case.
            rng: Source of what is drawn.
            template: The wording; drawn from those that are trained on if not given.
            argument: What is asked of the word.
            separator: Characters between the letters of the answer, if the wording names them.
            shown: The word as the question writes it, if not in lower case.
        """

    def mark(self, asked: Asked, output: str) -> Mark:
        """Judges what a model said."""


class WordTask(ABC):
    """What most tasks share; a subclass gives the wordings, the right answer and the reader of outputs."""

    name: str
    trained_by_default: bool = False
    templates: Sequence[Template] = ()
    equal_classes: Sequence[str] = ()
    answer_has_separator: bool = False

    def arguments(self, word: str, template: Template) -> Sequence[str]:
        """Returns everything the wording may ask of the word; here nothing beside the word itself."""
        return [""]

    def draw_argument(self, word: str, template: Template, rng: random.Random) -> str:
        """Draws what is asked of the word, by default evenly."""
        return rng.choice(self.arguments(word, template))

    def answer_class(self, answer: str) -> str:
        """Returns the class over which answers are balanced: here the answer."""
        return answer

    @abstractmethod
    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the right answer."""

    @abstractmethod
    def read(self, asked: Asked, output: str) -> str | None:
        """Reads the answer out of an output, in the form of a right answer; None where there is none to be read."""

    def measure(self, asked: Asked, read: str | None, output: str) -> dict[str, float]:
        """Returns the task's own numbers on an answer."""
        return {}

    def wording(self, argument: str) -> dict[str, str]:
        """Returns the texts of the placeholders beside ``{word}`` and ``{separator}``."""
        return {}

    def make(
        self,
        word: str,
        rng: random.Random,
        *,
        template: Template | None = None,
        argument: str | None = None,
        separator: str = DEFAULT_SEPARATOR,
        shown: str | None = None,
    ) -> Example:
        """Returns an example; what is not given is drawn, the wording from those that are trained on.

        Raises:
            ValueError: The word is not in lower case, or the argument cannot be asked of it, or not in this wording.
            TaskError: The wording has braces that nothing fills.
        """
        if not word or word != word.lower():
            raise ValueError(f"{self.name}: {word!r} is no word in lower case; 'shown' says how a question writes it.")
        wordings = [each for each in self.templates if not each.held_out] if template is None else [template]
        if argument is not None:
            fitting = [each for each in wordings if argument in self.arguments(word, each)]
            if not fitting:
                allowed = list(dict.fromkeys(one for each in wordings for one in self.arguments(word, each)))
                raise ValueError(
                    f"{self.name}: {argument!r} cannot be asked of {word!r} here, only {', '.join(map(repr, allowed))}."
                )
            wordings = fitting
        if template is None:
            template = rng.choice(wordings)
        if argument is None:
            argument = self.draw_argument(word, template, rng)
        if not self.answer_has_separator:
            separator = ""
        elif not template.asks_separator:
            separator = DEFAULT_SEPARATOR
        texts = {"word": shown or word, "separator": _SEPARATOR_WORDINGS[separator], **self.wording(argument)}
        try:
            question = template.text.format(**texts)
        except (LookupError, ValueError, AttributeError) as error:
            raise TaskError(
                f"{self.name}: template {template.name!r} cannot be filled in ({error!r}): {template.text!r}. In "
                "braces stand word, separator and what 'wording' returns; a brace of the text itself is written twice."
            ) from error
        return Example(
            task=self.name,
            template=template.name,
            template_held_out=template.held_out,
            word=word,
            question=question,
            answer=self.gold(word, argument, separator),
            argument=argument,
            separator=separator,
        )

    def mark(self, asked: Asked, output: str) -> Mark:
        """Judges an output: strict exact match first, then what :meth:`read` finds in it."""
        exact = output.strip() == asked.answer
        read = asked.answer if exact else self.read(asked, output)
        return Mark(
            exact=exact,
            lenient=read == asked.answer,
            invalid=read is None,
            read=read or "",
            measures=self.measure(asked, read, output),
        )


def make_templates(
    task: str, trained: Sequence[str | tuple[str, str]], held_out: Sequence[str | tuple[str, str]]
) -> tuple[Template, ...]:
    """Numbers the wordings of a task, the held-out ones last; a pair is a text and its variant."""
    templates = []
    for number, entry in enumerate([*trained, *held_out]):
        text, variant = (entry, "") if isinstance(entry, str) else entry
        templates.append(Template(f"{task}/{number:02d}", text, number >= len(trained), variant))
    return tuple(templates)


class NumberTask(WordTask):
    """A task that is answered by a whole number."""

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads the one number an output commits itself to; see :func:`~.marking.read_number`."""
        number = read_number(output, echo_of(asked))
        return None if number is None else str(number)

    def measure(self, asked: Asked, read: str | None, output: str) -> dict[str, float]:
        """Returns ``absolute_error``; nothing where no number could be read."""
        return {} if read is None else {"absolute_error": float(abs(int(read) - int(asked.answer)))}


class SpelledTask(WordTask):
    """A task that is answered letter by letter; a subclass says which letters."""

    answer_has_separator = True

    @abstractmethod
    def letters(self, word: str, argument: str) -> str:
        """Returns the letters of the right answer without separators."""

    def gold(self, word: str, argument: str, separator: str) -> str:
        """Returns the letters with the separator between them."""
        return separator.join(self.letters(word, argument))

    def read(self, asked: Asked, output: str) -> str | None:
        """Reads letters with any of the four separators; see :func:`~.marking.read_spelling`.

        Where letters were asked apart, the word itself is none of them: it takes no knowledge of its letters.
        """
        letters = None if self._copied(asked, output) else read_spelling(output, echo_of(asked))
        return None if letters is None else asked.separator.join(letters)

    def measure(self, asked: Asked, read: str | None, output: str) -> dict[str, float]:
        """Returns ``similarity`` and ``copied``.

        ``similarity`` is 1 − Levenshtein distance / length of the longer, 0 where nothing could be read. ``copied`` is
        1 where letters with a separator were asked for and the bare word came back.
        """
        letters = (read or "").replace(asked.separator, "") if asked.separator else read or ""
        return {
            "similarity": spelling_similarity(self.letters(asked.word, asked.argument), letters),
            "copied": float(self._copied(asked, output)),
        }

    @staticmethod
    def _copied(asked: Asked, output: str) -> bool:
        return bool(asked.separator) and is_bare(output, asked.word)
