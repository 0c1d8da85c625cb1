"""What a public benchmark is: how it is read and asked, how its authors mark, and how an answer is read leniently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.base import Example
from spelling_transfer.tasks.marking import read_letter, read_number, read_spelling, read_yes_or_no
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.words.randomness import random_for

Reads = Literal["number", "letter", "letters", "yes_no"]

FORMS = ("authors", "ours")
"""A question as the set's authors have it, and as a task of this package."""

_READERS: Mapping[Reads, Callable[[str, set[str]], object]] = {
    "number": read_number,
    "letter": read_letter,
    "letters": read_spelling,
    "yes_no": read_yes_or_no,
}


class BenchError(SpellingTransferError):
    """A public benchmark cannot be loaded, read or asked, or an export cannot be written."""


class RowError(Exception):
    """A row of a file cannot be used; its message says why."""


@dataclass(frozen=True)
class Item:
    """A question of a public benchmark.

    Attributes:
        item_id: Unique within the set.
        kind: The set's own task, for instance ``"ins_char"``; scores are given for each.
        text: The word or words asked about, as the set writes them.
        question: The user's turn as the set's authors have it.
        answer: The right answer as the set has it.
        reads: What the lenient reader looks for.
        echo: What an answer may repeat of the question beside the words of ``text``.
        prefill: What the authors put at the start of the model's answer.
        ours: The same question as a task of this package asks it; ``None`` where no task asks this.
    """

    item_id: str
    kind: str
    text: str
    question: str
    answer: str
    reads: Reads
    echo: tuple[str, ...] = ()
    prefill: str = ""
    ours: Example | None = None


@dataclass(frozen=True)
class BrokenRow:
    """A row that was left out.

    Attributes:
        where: File and line, or the row's own number.
    """

    where: str
    reason: str


@dataclass
class Contents:
    """What a file held.

    Attributes:
        hashes: SHA-256 of each file that was read, by its name.
        version: What the hashes say the files are; for a generated set the version of its package.
        prompts: Where the authors' wording came from.
    """

    items: list[Item] = field(default_factory=list)
    broken: list[BrokenRow] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    version: str = ""
    prompts: str = ""


@runtime_checkable
class PublicSet(Protocol):
    """A public benchmark. A package of its own brings another by an entry point; see ``docs/public_sets.md``."""

    @property
    def name(self) -> str:
        """Unique name, equal to that of the entry point."""

    @property
    def title(self) -> str:
        """What it is, in one line."""

    @property
    def source(self) -> str:
        """Where its file comes from, and where it is described."""

    @property
    def licence(self) -> str:
        """Its licence, and what follows from it."""

    @property
    def needs(self) -> str:
        """What ``--file`` has to name; how it is made where it is generated."""

    def read(self, path: Path | None, size: int) -> Contents:
        """Reads the set, or generates it where ``path`` is ``None`` and the set can be.

        Args:
            path: The user's file or folder.
            size: How many questions to generate.

        Raises:
            BenchError: There is no such file, or it is not of this set.
        """

    def mark(self, item: Item, output: str) -> bool:
        """Whether an answer to the authors' question is right, marked as the authors mark."""


def as_task(task: str, word: str, answer: str, argument: str = "", *, shown: str = "") -> Example | None:
    """Returns a question as a task of this package asks it; ``None`` where it cannot or would have another answer.

    Args:
        task: Name of the task.
        word: The word; a task asks about small letters a to z.
        answer: The right answer in the set, letters without separators.
        argument: What is asked of the word.
        shown: The word as the set writes it.
    """
    if not (word.isascii() and word.isalpha() and word.islower()):
        return None
    asks = load_tasks()[task]
    template = next((each for each in asks.templates if argument in asks.arguments(word, each)), None)
    if template is None:
        return None
    example = asks.make(
        word, random_for("public sets", word), template=template, argument=argument, shown=shown or word
    )
    letters = example.answer.replace(example.separator, "") if example.separator else example.answer
    return example if letters == answer else None


def read_leniently(item: Item, output: str) -> str | None:
    """Returns what the lenient reader finds in an answer to the authors' wording; ``None`` where it finds nothing.

    The readers are those of our own tasks (``tasks/marking.py``): one answer and words that say it, nothing else.
    """
    words = {piece.strip("\"'.,:;!?()").lower() for piece in [*item.text.split(), *item.echo]} - {""}
    found = _READERS[item.reads](output, words | {f"{word}'s" for word in words})
    return None if found is None else str(found)


def is_right_leniently(item: Item, read: str | None) -> bool:
    """Whether what was read is the right answer, capitals and blanks between letters aside."""
    return read is not None and read == "".join(item.answer.lower().split())
