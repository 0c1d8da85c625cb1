"""Two generators of reasoning-gym: letters in running text, and words spelled backwards. Generated here, offline."""

from __future__ import annotations

from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spelling_transfer.bench.base import BenchError, Contents, Item, as_task
from spelling_transfer.bench.files import Row, agree, check, decode, fill, json_rows, load

SEED = 0
_COLUMNS = ("question", "answer", "metadata")
_IN_OUR_WORDS = "\nReply with the answer only."


class _Generated:
    """What both generators share."""

    name: str
    generator: str
    source = "https://github.com/open-thought/reasoning-gym; Stojanovski et al., 2025, arXiv:2505.24760"
    licence = "Apache-2.0"
    needs = "nothing (pip install reasoning-gym), or a file of its entries, one JSON object a line"

    def read(self, path: Path | None, size: int) -> Contents:
        """Generates the questions with the package, or reads entries that were written to a file."""
        contents = Contents(prompts="the authors' question; how to answer is said in our words")
        make = partial(self._item, contents)
        if path is not None:
            fill(contents, json_rows(path, decode(load(path, contents), path), _COLUMNS, contents), make)
            contents.version = "a file of entries: its hash stands for it"
            return check(contents, path, {})
        try:
            from reasoning_gym import create_dataset

            contents.version = f"reasoning-gym {version('reasoning-gym')}, seed {SEED}, {size} questions"
        except (ImportError, PackageNotFoundError) as error:
            raise BenchError(
                f"{self.name}: needs the package reasoning-gym (pip install reasoning-gym), or --file "
                f"with entries that it generated elsewhere ({error})."
            ) from error
        entries = create_dataset(self.generator, size=size, seed=SEED)
        fill(contents, [(f"entry {number}", entries[number]) for number in range(size)], make)
        return check(contents, Path(self.generator), {})

    def _item(self, contents: Contents, row: Row) -> Item:
        raise NotImplementedError


class LetterCounting(_Generated):
    """How often a letter or digit occurs in a run of five to fifteen words of a text."""

    name = "rg_letter_counting"
    generator = "letter_counting"
    title = "reasoning-gym letter_counting: a letter in 5 to 15 words of running text"

    def _item(self, contents: Contents, row: Row) -> Item:
        known = row["metadata"]
        text, letter = " ".join(known["span"]), known["target_letter"]
        agree(int(row["answer"]), text.lower().count(letter), text)
        return Item(
            item_id=str(len(contents.items)),
            kind=self.generator,
            text=text,
            question=row["question"] + _IN_OUR_WORDS,
            answer=row["answer"],
            reads="number",
            echo=(letter, "text"),
        )

    def mark(self, item: Item, output: str) -> bool:
        """Compares exactly; what the package gives of a point for an answer in more words does not count as right."""
        return output == item.answer


class SpellBackward(_Generated):
    """A word of three to ten letters, from the last to the first."""

    name = "rg_spell_backward"
    generator = "spell_backward"
    title = "reasoning-gym spell_backward: a word of 3 to 10 letters from its end"

    def _item(self, contents: Contents, row: Row) -> Item:
        word, answer = row["metadata"]["word"], row["answer"]
        agree(answer, word[::-1], word)
        return Item(
            item_id=str(len(contents.items)),
            kind=self.generator,
            text=word,
            question=row["question"] + _IN_OUR_WORDS,
            answer=answer,
            reads="letters",
            ours=as_task("reverse", word.lower(), answer.lower(), shown=word),
        )

    def mark(self, item: Item, output: str) -> bool:
        """Compares but for capitals; the points that the package gives for some letters in place do not count."""
        return output.lower() == item.answer.lower()
