"""The table that comparisons read: one row an arm, seed and question, with whether it is right and what kind it is.

Checks are made here, once: rows that cannot be compared are named and never averaged over.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from spelling_transfer.evaluation.questions import EvaluationError
from spelling_transfer.tasks.arms import BASE, TRAINED_ARMS
from spelling_transfer.tasks.mixture import ASKED
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.word_sets import RANDOM, TOKEN_HELD_OUT, UNKNOWN_SPELLING, WORD

SPELLED, HELD_OUT, UNSEEN_TOKENS, MADE_UP = "spelled", "held_out", "unseen_tokens", "made_up"
ENDPOINTS = (SPELLED, HELD_OUT, UNSEEN_TOKENS, UNKNOWN_SPELLING, MADE_UP)
"""What a question is about: a word whose spelling is trained and nothing else; a word of a held-out family that shares
tokens with trained ones; one that shares none; a word whose spelling the base model never met; a string of random
letters. They are never pooled."""

NO_SEED = -1
"""The seed of an arm that is not trained."""

STRATA = ("direction", "repeated_letter", "true_count", "token_letters", "frequency")
"""Columns by which questions of a task are told apart; empty where a task has no such kind.

- ``direction`` of a position question: ``forward`` or ``backward``.
- ``repeated_letter``: ``yes`` where the word has a letter twice.
- ``true_count`` of a count question: ``0``, ``1``, ``2``, ``3+``.
- ``token_letters``: letters of the token that holds the letter asked for, of the longest such token for a count, of the
  word's longest token for spelling: ``1`` to ``5``, ``6+``; ``none`` where the letter does not occur.
- ``frequency`` of the word (Zipf): ``below 3``, ``3 to 4``, ``4 and above``; ``no word`` for random letters.
"""

VALUES = (
    *("forward", "backward", "yes", "no", "0", "1", "2", "3", "3+", "4", "5", "6+", "none"),
    *("below 3", "3 to 4", "4 and above", "no word"),
)
"""The values of all strata, in the order in which they are shown."""

COLUMNS = ("arm", "seed", "example_id", "task", "family", "endpoint", "correct", "invalid", "held_out_wording", *STRATA)
_LONGEST_TOKEN = 6


def endpoint_of(questions: pd.DataFrame) -> pd.Series:
    """Returns the endpoint of each question, from its ``kind`` and ``word_set``."""
    endpoints = questions["word_set"].map({WORD: HELD_OUT, TOKEN_HELD_OUT: UNSEEN_TOKENS, RANDOM: MADE_UP})
    endpoints = endpoints.where(questions["word_set"] != UNKNOWN_SPELLING, UNKNOWN_SPELLING)
    return endpoints.where(questions["kind"] != ASKED, SPELLED)


def tabulate(marked: pd.DataFrame, words: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns the table: the columns of :data:`COLUMNS`, one row an arm, seed and question.

    Args:
        marked: What ``mark_answers`` returns.
        words: The words frame, for frequencies.
        tokenizer: Cuts words into tokens, as they stand in each question.

    Raises:
        EvaluationError: See :func:`check_table`.
    """
    questions = marked.drop_duplicates("example_id")
    strata = describe_questions(questions, words, tokenizer)
    table = marked[["arm", "seed", "example_id", "task", "endpoint"]].assign(
        family=marked["stem"],
        correct=marked["exact"].astype(bool),
        invalid=marked["invalid"].astype(bool),
        held_out_wording=marked["template_held_out"].astype(bool),
    )
    table = table.merge(strata, on="example_id", how="left", validate="many_to_one")[list(COLUMNS)]
    check_table(table)
    return table


def describe_questions(questions: pd.DataFrame, words: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns the strata of each question: ``example_id`` and the columns of :data:`STRATA`."""
    zipf = words.set_index("word")["zipf_frequency"]
    pairs = zip(questions["question"], questions["word"], strict=True)
    shown = [word if question.startswith(word) else f" {word}" for question, word in pairs]
    pieces = [[tokenizer.decode([token]).strip() for token in ids] for ids in tokenizer.encode_texts(shown)]
    rows: list[dict[str, Any]] = []
    for row, parts in zip(questions.itertuples(index=False), pieces, strict=True):
        task, word, argument = str(row.task), str(row.word), str(row.argument)
        rows.append(
            {
                "example_id": row.example_id,
                "direction": ("backward" if argument.startswith("-") else "forward") if task == "position" else "",
                "repeated_letter": "yes" if len(set(word)) < len(word) else "no",
                "true_count": _count_class(word.count(argument)) if task == "count" else "",
                "token_letters": _token_letters(task, argument, parts),
                "frequency": "no word" if row.word_set == RANDOM else _band(float(zipf.get(word, 0.0))),
            }
        )
    return pd.DataFrame(rows, columns=["example_id", *STRATA])


def _count_class(count: int) -> str:
    return str(count) if count < 3 else "3+"


def _band(zipf: float) -> str:
    return "below 3" if zipf < 3 else "3 to 4" if zipf < 4 else "4 and above"


def _token_letters(task: str, argument: str, parts: list[str]) -> str:
    lengths = [len(part) for part in parts]
    if task == "position":
        ends, place = np.cumsum(lengths), int(argument)
        index = place - 1 if place > 0 else int(ends[-1]) + place
        longest = lengths[int(np.searchsorted(ends, index, side="right"))]
    elif task == "count":
        longest = max((len(part) for part in parts if argument in part), default=0)
    else:
        longest = max(lengths)
    return "none" if not longest else str(longest) if longest < _LONGEST_TOKEN else f"{_LONGEST_TOKEN}+"


def check_table(table: pd.DataFrame) -> None:
    """Checks that the rows of every arm and seed can be compared with those of the base model.

    Raises:
        EvaluationError: There is no base model; an arm and seed answered a question twice, or other questions of a task
            than its other seeds; seeds disagree about the base model; a trained arm has no seed; an endpoint is none.
    """
    if not (table["arm"] == BASE).any():
        raise EvaluationError("arm_answers: no row of the base model. Run 'kedro run --pipelines=evaluation' again.")
    unknown = sorted(set(map(str, table["endpoint"].unique())) - set(ENDPOINTS))
    if unknown:
        raise EvaluationError(f"arm_answers: no such endpoint: {', '.join(unknown)}. Known: {', '.join(ENDPOINTS)}.")
    unseeded = sorted(set(table.loc[(table["seed"] == NO_SEED) & table["arm"].isin(TRAINED_ARMS), "arm"]))
    if unseeded:
        raise EvaluationError(f"arm_answers: rows of {', '.join(unseeded)} have no seed, and were trained with one.")
    of_base = table[table["arm"] == BASE]
    sides = of_base.groupby("example_id")["correct"].nunique()
    if (sides > 1).any():
        seeds = ", ".join(map(str, sorted(of_base["seed"].unique())))
        raise EvaluationError(
            f"arm_answers: the seeds ({seeds}) disagree about the base model on {int((sides > 1).sum())} questions, "
            f"{sides.index[sides > 1][0]!r} among them: it answered on different machines or with other threads. "
            "Answer again in one run: 'kedro run --pipelines=evaluation', with evaluation.threads set to a number."
        )
    twice = table.duplicated(["arm", "seed", "example_id"])
    if twice.any():
        first = table[twice].iloc[0]
        raise EvaluationError(
            f"arm_answers: {first['arm']} (seed {first['seed']}) answered {first['example_id']!r} twice: answers of "
            "two runs were put together. Answer again with 'kedro run --pipelines=evaluation'."
        )
    for (arm, task), rows in table.groupby(["arm", "task"], sort=False):
        asked = rows.groupby("seed")["example_id"].agg(frozenset)
        if asked.nunique() > 1:
            counts = ", ".join(f"seed {seed}: {len(ids)}" for seed, ids in asked.items())
            raise EvaluationError(
                f"arm_answers: the seeds of {arm} answered different questions of {task} ({counts}), so no mean over "
                "them says anything. Answer again with 'kedro run --pipelines=evaluation'."
            )


def empty_strata(table: pd.DataFrame) -> dict[str, list[str]]:
    """Returns, for each endpoint, the strata of core tasks without a question: nothing can be said of them.

    Args:
        table: What :func:`tabulate` returned.
    """
    kinds = {
        ("position", "direction"): ("forward", "backward"),
        ("count", "true_count"): ("0", "1", "2", "3+"),
        ("position", "repeated_letter"): ("yes", "no"),
    }
    missing: dict[str, list[str]] = {}
    for endpoint in ENDPOINTS:
        of_endpoint = table[table["endpoint"] == endpoint]
        for (task, stratum), values in kinds.items():
            there = set(of_endpoint.loc[of_endpoint["task"] == task, stratum])
            missing.setdefault(endpoint, []).extend(
                f"{task}: {stratum} {value}" for value in values if value not in there
            )
    return {endpoint: names for endpoint, names in missing.items() if names}
