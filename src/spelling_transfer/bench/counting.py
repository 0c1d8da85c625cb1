"""Sets that give a number: TASE's count of components, CharBench, and StrawberryBench."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from spelling_transfer.bench.base import Contents, Item, RowError, as_task
from spelling_transfer.bench.files import Row, agree, cell, check, fill, needed, table, whole_number

_NUMBER_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty
"""
_STRAWBERRY = "what generate_dataset.py of the authors' commit c41c416 writes (February 2026)"
_VERSIONS = {
    "578da8260b6d29ea419199cc356153960211863889c55f05143674010f03b833": "the authors' commit 5d68f94 (August 2025)",
    "a5ba34b43399e36deb3b093de892b22cba1574d2c58411ebf364df2d3e77bb90": _STRAWBERRY,
    "4b982b840dfb4a91737fbd4df2f26badff4016e536e7e4f882486945b4ff9d74": _STRAWBERRY,
    "4b3bb6fedd35abf5900d9c5a3b9bd3d8e7ee858889358b855826580094ed401d": _STRAWBERRY,
}


class _Table:
    """What these sets share: a table with a question a row.

    Attributes:
        columns: Columns that the table must have.
        prompts: Where the wording of the questions comes from.
        versions: Hash of each file known, with what it is.
        version: What stands for a version where no file is known.
    """

    name: str
    needs: str
    columns: tuple[str, ...]
    prompts: str
    versions: Mapping[str, str] = _VERSIONS
    version = ""

    def read(self, path: Path | None, size: int) -> Contents:
        """Reads the table."""
        contents, path = Contents(prompts=self.prompts, version=self.version), needed(path, self.name, self.needs)
        fill(contents, table(path, self.columns, contents), self._item)
        return check(contents, path, self.versions)

    def _item(self, row: Row) -> Item:
        raise NotImplementedError


class TaseCount(_Table):
    """TASE's component count, the English file: how often a letter occurs in one to three words together."""

    name = "tase_count"
    title = "TASE component count: a letter in one to three words, counts of 0 to 10, 1,100 questions"
    source = "https://github.com/cyzcz/Tase, tasks/token_structure/component_count/english.csv; arXiv:2508.05468"
    licence = "Apache-2.0"
    needs = "your copy of english.csv"
    columns = ("input", "answer")
    prompts = "the authors' question; how to answer is said in our words, and not as system turn"

    _QUESTION = re.compile(r'How many times does the letter "(.)" appear in ([^?]+)\?')
    _IN_OUR_WORDS = " Write the resulting number between <answer> and </answer>."

    def _item(self, row: Row) -> Item:
        question, answer = cell(row, "input"), whole_number(row, "answer")
        asked = self._QUESTION.fullmatch(question)
        if asked is None:
            raise RowError(f"not a question of this set: {question[:40]!r}")
        letter, text = asked.groups()
        agree(answer, text.count(letter), text)
        return Item(
            item_id=f"{letter}/{text}",
            kind="one_word" if len(text.split()) == 1 else "several_words",
            text=text,
            question=question + self._IN_OUR_WORDS,
            answer=str(answer),
            reads="number",
            echo=(letter,),
            ours=as_task("count", text, str(answer), letter),
        )

    def mark(self, item: Item, output: str) -> bool:
        """Takes the last number between the answer tags, or else in the first bold text; without either it is wrong."""
        said = re.search(r"<answer>(.*?)</answer>", output, re.DOTALL) or re.search(r"\*\*(.*?)\*\*", output, re.DOTALL)
        numbers = re.findall(r"\d+", said[1]) if said else []
        return bool(numbers) and numbers[-1] == item.answer


class CharBench(_Table):
    """CharBench: counts and indexes of characters in words of four to ten letters, capitals kept apart."""

    name = "charbench"
    title = "CharBench: frequency and number of characters, first and last index from 0, 175,000 questions"
    source = "https://huggingface.co/datasets/omriuz/CharBench; Uzan and Pinter, 2025, arXiv:2508.02591"
    licence = "MIT (the code; its words come from MiniPile)"
    needs = "benchmark.csv, as the authors' script makes it or as the hub has it (CSV or Parquet)"
    columns = ("question", "answer", "word", "character", "task")  # no character where distinct ones are counted
    prompts = "the authors' question; what stands before it is in our words, and not as system turn"
    versions: Mapping[str, str] = {}
    version = "the set has no versions: its hash stands for it"

    _IN_OUR_WORDS = "Capitals and small letters are different characters. Answer with the number and nothing else.\n\n"

    def _item(self, row: Row) -> Item:
        word, kind, answer = cell(row, "word"), cell(row, "task"), whole_number(row, "answer")
        finders = {
            "count_unique_chars": lambda _: len(set(word)),
            "count_character_frequency": word.count,
            "find_first_occurrence": word.index,
            "find_last_occurrence": word.rindex,
        }
        if kind not in finders:
            raise RowError(f"task is {kind[:30]!r}, none of {', '.join(finders)}")
        letter = "" if kind == "count_unique_chars" else cell(row, "character")
        agree(answer, finders[kind](letter), word)
        return Item(
            item_id=f"{kind}/{word}/{letter}",
            kind=kind,
            text=word,
            question=self._IN_OUR_WORDS + cell(row, "question"),
            answer=str(answer),
            reads="number",
            echo=(letter, "character", "characters", "unique", "index"),
            ours=as_task("count", word, str(answer), letter) if kind == "count_character_frequency" else None,
        )

    def mark(self, item: Item, output: str) -> bool:
        """Takes the whole answer as a number."""
        try:
            return int(output) == int(item.answer)
        except ValueError:
            return False


class StrawberryBench(_Table):
    """StrawberryBench of F. Leuerer (2026): a letter in words, names, sentences and passages. Others bear the name."""

    name = "strawberrybench"
    title = "StrawberryBench (floleuerer): a letter in words, names, foreign words, sentences and passages"
    source = (
        "https://huggingface.co/datasets/floleuerer/strawberry-bench, https://github.com/floleuerer/strawberry-bench"
    )
    licence = "CC-BY-4.0 (data), MIT (code)"
    needs = "dataset.jsonl, dataset.csv, dataset.json, or the hub's Parquet file"
    columns = ("id", "word", "letter", "question", "answer", "difficulty")
    prompts = "the authors' question without examples; what stands before it is in our words, not as system turn"

    _IN_OUR_WORDS = "Answer with the number alone.\n\n"

    def _item(self, row: Row) -> Item:
        word, letter, answer = cell(row, "word"), cell(row, "letter"), whole_number(row, "answer")
        agree(answer, word.lower().count(letter), word)
        return Item(
            item_id=cell(row, "id"),
            kind=cell(row, "difficulty"),
            text=word,
            question=self._IN_OUR_WORDS + cell(row, "question"),
            answer=str(answer),
            reads="number",
            echo=(letter,),
            ours=as_task("count", word.lower(), str(answer), letter, shown=word),
        )

    def mark(self, item: Item, output: str) -> bool:
        """Takes the number after "ANSWER:", else the first in digits, else the lowest in words up to twenty.

        Where an answer holds several numbers the authors ask another model which is meant; here the first is taken.
        """
        found = re.search(r"ANSWER\s*:\s*(\d+)", output, re.IGNORECASE) or re.search(r"\b(\d+)\b", output)
        if found:
            return int(found[1][:4000]) == int(item.answer)  # Python reads no number of more digits
        said = [n for n, word in enumerate(_NUMBER_WORDS.split()) if re.search(rf"\b{word}\b", output.lower())]
        return said[:1] == [int(item.answer)]
