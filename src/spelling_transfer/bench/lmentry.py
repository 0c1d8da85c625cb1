"""LMentry's first and last letter. The set has no licence: its file is read where the user has it, never shipped."""

from __future__ import annotations

import re
from pathlib import Path

from spelling_transfer.bench.base import BenchError, Contents, Item, RowError, as_task
from spelling_transfer.bench.files import Row, agree, check, decode, fill, load, needed, parse_json

_ENDS = {"first_letter": 0, "last_letter": -1}
_COMMIT = "the authors' commit 646ae90 (June 2023)"
_VERSIONS = {
    "6ca79547984f575da82a061683e43e73fbdac133203b89f3496b32c6f3132e51": _COMMIT,
    "8816d29045ee20e0cd8e921727fa3632c5df8f087434730547802a7e3be9426b": _COMMIT,
}


class LMentry:
    """LMentry's two tasks about a letter: 1,000 words, each asked in three wordings."""

    name = "lmentry"
    title = "LMentry: the first or the last letter of 1,000 words, each in three wordings"
    source = "https://github.com/aviaefrat/lmentry, data; Efrat, Honovich and Levy, 2022, arXiv:2211.02069"
    licence = "none stated: read it where you have it, ship nothing of it"
    needs = "your copy of first_letter.json or last_letter.json"

    def read(self, path: Path | None, size: int) -> Contents:
        """Reads the file: ``settings.name`` says the task, ``examples`` holds the questions by number."""
        contents, path = Contents(prompts="the authors' own, from the file"), needed(path, self.name, self.needs)
        document = parse_json(path, decode(load(path, contents), path))
        try:
            end, examples = document["settings"]["name"], document["examples"].items()
        except (TypeError, KeyError, AttributeError) as error:
            raise BenchError(f"{path}: has no settings and examples. It is not a file of LMentry.") from error
        if end not in _ENDS:
            raise BenchError(f"{path}: is LMentry's task {str(end)[:30]!r}; {' and '.join(_ENDS)} ask about letters.")
        rows = [(f"{path.name}, example {number}", {"id": number, "end": end, "of": of}) for number, of in examples]
        fill(contents, rows, _item)
        return check(contents, path, _VERSIONS)

    def mark(self, item: Item, output: str) -> bool:
        """Looks for nothing but the letter, or for a sentence that says it; capitals do not count.

        The authors' patterns, said again: "the first letter of WORD is L", "WORD starts with L", "WORD: L" and their
        like anywhere in the answer.
        """
        text = re.sub(" +", " ", output.strip().lower()).replace("_", " ")
        words = re.findall(r"\b[a-z\d]+\b", text)
        right = item.answer.lower()
        letter = rf"(?:the letter )?[\"'.,]*\b{re.escape(right)}\b[\"'.,]*"
        word = rf"(?:the word )?[\"'.,]*\b{re.escape(item.text.lower())}\b[\"'.,]*"
        if set(words) == {right} or re.fullmatch(rf"{letter}\.?", text):
            return True
        first = item.kind.startswith("first")
        end, verb, other = ("first", "(?:starts|begins)", "starting") if first else ("last", "ends", "final")
        said = [
            f"the {end} letter is {letter}",
            f"the {end} letter (?:of|in) {word} is {letter}",
            f"{letter} is the (?:{end}|{other}) letter (?:of|in) {word}",
            f"{word} {verb} with {letter}",
            f"the letter that {word} {verb} with is {letter}",
            f"(?:{word}|{end} letter|answer): {letter}",
            f"{letter} is the answer",
            f"the (?:correct )?answer is {letter}",
        ]
        return any(re.search(pattern, text) for pattern in said)


def _item(row: Row) -> Item:
    example, end = row["of"], row["end"]
    known, question = example["metadata"], example["input"]
    word, answer = known["word"], known["answer"]
    if word not in question:
        raise RowError(f"its question does not name its word {word!r}")
    agree(answer, word[_ENDS[end]], word)
    wording = int(known["template_id"]) + 1
    return Item(
        item_id=f"{end}/{row['id']}",
        kind=f"{end}/{wording}",
        text=word,
        question=question,
        answer=answer,
        reads="letter",
        echo=("first", "last", "starts", "ends"),
        ours=as_task("position", word, answer, "1" if end == "first_letter" else "-1") if wording == 1 else None,
    )
