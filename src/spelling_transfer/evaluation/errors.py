"""What is wrong with wrong answers: which letters are taken for which, misses by one, doubles, token borders, lengths.

Pure functions on marked answers of words of held-out families. An answer counts as what its task's extractor read in
it; what could not be read is ``no answer``. The first kind of error that fits is taken, so each wrong answer has one.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein

from spelling_transfer.evaluation.marking import of_first_seed
from spelling_transfer.evaluation.strata import HELD_OUT
from spelling_transfer.tasks.registry import CORE_TASKS
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.randomness import key_of

NO_ANSWER = "no answer"
RIGHT, RIGHT_AND_MORE = "right", "right, and more"
KINDS = (
    *(NO_ANSWER, "off by one", "dropped double", "missing letters", "extra letters", "wrong letters"),
    *("other letter of the word", "letter not in the word", "other number"),
)
"""Kinds of error.

- ``off by one``: a number one too high or low; for a position the letter before or after the right one.
- ``dropped double``: two equal letters side by side given, or counted, as one.
- ``missing letters``, ``extra letters``, ``wrong letters``: of a spelling, by the edits that mend it; ``wrong letters``
  where they are not all of one kind.
"""


def describe_errors(marked: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Says of each answer of the core tasks what is wrong with it.

    Args:
        marked: What ``mark_answers`` returns.
        tokenizer: Cuts words into tokens, as they stand after a space.

    Returns:
        One row an answer: ``arm``, ``seed``, ``example_id``, ``task``, ``word``, ``tokens`` (the word with ``|`` at its
        borders), ``question``, ``answer``, ``output``, ``read``, ``exact``, ``kind`` (empty where what was read is
        right), ``at_border`` (whether the letter asked for, or the first letter that is wrong, stands beside a border
        between tokens; missing where there is none) and ``length_difference`` (letters given less those of the word, of
        a spelling that was read).
    """
    rows = marked[(marked["endpoint"] == HELD_OUT) & marked["task"].isin(CORE_TASKS)]
    words = sorted(rows["word"].unique())
    cut = {
        word: [tokenizer.decode([token]).strip() for token in ids]
        for word, ids in zip(words, tokenizer.encode_texts([f" {word}" for word in words]), strict=True)
    }
    facts = [_describe(row, cut[str(row.word)]) for row in rows.itertuples(index=False)]
    about = rows[
        ["arm", "seed", "example_id", "task", "word", "question", "answer", "output", "read", "exact"]
    ].reset_index(drop=True)
    columns = ["tokens", "kind", "at_border", "length_difference"]
    return about.join(pd.DataFrame(facts, columns=columns, index=about.index))


def error_table(described: pd.DataFrame) -> pd.DataFrame:
    """Counts the kinds of error.

    Returns:
        One row an arm, seed, task and kind of error: ``n`` wrong answers and their ``share`` of all answers of the
        task. The kinds ``at a token border`` and ``inside a token`` count wrong answers to questions about a letter
        there, with their share of the questions about one there (position alone); ``too short`` and ``too long`` count
        spellings by their length.
    """
    rows = []
    for (arm, seed, task), part in described.groupby(["arm", "seed", "task"], sort=False):
        wrong = part["kind"] != ""
        counts = {kind: (part["kind"] == kind, len(part)) for kind in KINDS}
        if task == "position":
            for kind, side in (("at a token border", True), ("inside a token", False)):
                there = part["at_border"] == side
                counts[kind] = there & wrong, int(there.sum())
        if task == "spelling":
            counts["too short"] = part["length_difference"] < 0, len(part)
            counts["too long"] = part["length_difference"] > 0, len(part)
        for kind, (which, of) in counts.items():
            if n := int(which.sum()):
                rows.append([arm, seed, task, kind, n, n / of])
    return pd.DataFrame(rows, columns=["arm", "seed", "task", "kind", "n", "share"])


def error_shares(described: pd.DataFrame) -> pd.DataFrame:
    """Returns what kind of answer each arm gives, over all its seeds: ``right``, ``right, and more``, a kind of error.

    Returns:
        One row an ``arm``, ``task`` and ``kind`` with ``n`` answers and their ``share`` of the arm's answers to the
        task.
    """
    right = described["exact"].map({True: RIGHT, False: RIGHT_AND_MORE})
    kinds = described[["arm", "task"]].assign(kind=described["kind"].where(described["kind"] != "", right))
    counted = kinds.groupby(["arm", "task", "kind"], sort=False).size().rename("n").reset_index()
    return counted.assign(share=counted["n"] / counted.groupby(["arm", "task"])["n"].transform("sum"))


def letter_confusions(described: pd.DataFrame) -> pd.DataFrame:
    """Counts which letter was given for which: of a position the answer, of a spelling each letter that was replaced.

    Returns:
        One row an arm, task and pair of letters, the most frequent first: ``arm``, ``task``, ``expected``, ``given``,
        ``n``.
    """
    found: list[tuple[str, str, str, str]] = []
    for row in described[described["kind"] != ""].itertuples(index=False):
        given = _letters(str(row.read))
        if row.task == "position" and len(given) == 1:
            found.append((str(row.arm), "position", str(row.answer), given))
        elif row.task == "spelling" and row.kind != NO_ANSWER:
            for edit in Levenshtein.editops(str(row.word), given):
                if edit.tag == "replace":
                    found.append((str(row.arm), "spelling", str(row.word)[edit.src_pos], given[edit.dest_pos]))
    pairs = pd.DataFrame(found, columns=["arm", "task", "expected", "given"])
    counted = pairs.value_counts().rename("n").reset_index()
    order = ["arm", "task", "n", "expected", "given"]
    return counted.sort_values(order, ascending=[True, True, False, True, True]).reset_index(drop=True)


def error_examples(described: pd.DataFrame, *, per_kind: int = 3) -> pd.DataFrame:
    """Chooses examples of each arm, task and kind of error, by a rule: those whose identifier has the smallest hash.

    Returns:
        Rows of ``described``, at most ``per_kind`` of each.
    """
    wrong = described[described["kind"] != ""]
    order = [key_of("error example", example_id) for example_id in wrong["example_id"]]
    chosen = wrong.assign(_order=order).sort_values("_order", kind="stable")
    chosen = chosen.groupby(["arm", "task", "kind"], sort=True).head(per_kind)
    return chosen.sort_values(["arm", "task", "kind", "_order"]).drop(columns="_order").reset_index(drop=True)


def side_by_side(described: pd.DataFrame) -> pd.DataFrame:
    """Puts the arms' answers to each question beside one another, of each arm those of its first seed.

    Returns:
        One row a question: ``task``, ``question``, ``tokens``, ``answer``, then a column of answers for each arm, and
        ``right``, the arms that have it right, exactly.
    """
    first = of_first_seed(described)
    questions = first.drop_duplicates("example_id").set_index("example_id")[["task", "question", "tokens", "answer"]]
    outputs = first.pivot(index="example_id", columns="arm", values="output")[first["arm"].unique().tolist()]
    right = first[first["exact"]].groupby("example_id")["arm"].agg(", ".join).rename("right")
    return questions.join(outputs).join(right).fillna({"right": ""}).reset_index(drop=True)


def _describe(row: Any, parts: list[str]) -> tuple[str, str, bool | None, float]:
    word, given = str(row.word), str(row.read)
    whole = "".join(parts) == word
    ends = set(np.cumsum([len(part) for part in parts[:-1]]).tolist()) if whole else set()
    beside = ends | {end - 1 for end in ends}
    tokens = "|".join(parts) if whole else word
    kind, place, longer = "", None, float("nan")
    if row.task == "spelling":
        letters = _letters(given)
        if not row.invalid:
            longer = float(len(letters) - len(word))
        if not row.exact:
            kind, place = _spelling_error(word, letters)
    elif row.task == "position":
        index = int(row.argument)
        place = index - 1 if index > 0 else len(word) + index
        if not row.exact:
            around = {word[i] for i in (place - 1, place + 1) if 0 <= i < len(word)}
            kind = "off by one" if given in around else "other letter of the word"
            kind = kind if given in word else "letter not in the word"
    elif not row.exact:
        true, letter = int(row.answer), str(row.argument)
        runs = sum(key == letter for key, _ in itertools.groupby(word))
        said = int(given) if given.isdigit() else -1
        kind = "dropped double" if said == runs != true else "off by one" if abs(said - true) == 1 else "other number"
    if not row.exact and row.invalid:
        kind = NO_ANSWER
    elif kind and row.lenient:
        kind = ""  # the right answer in other words is no error of letters
    return tokens, kind, None if not ends or place is None else place in beside, longer


def _spelling_error(word: str, given: str) -> tuple[str, int | None]:
    edits = Levenshtein.editops(word, given)
    place = min((edit.src_pos for edit in edits), default=None)
    place = None if place is None else min(place, len(word) - 1)
    once = "".join(letter for letter, _ in itertools.groupby(word))
    kinds = {edit.tag for edit in edits}
    if len(given) < len(word) and "".join(letter for letter, _ in itertools.groupby(given)) == once:
        return "dropped double", place
    if kinds == {"delete"}:
        return "missing letters", place
    return ("extra letters" if kinds == {"insert"} else "wrong letters"), place


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalpha())
