"""What answers that never look at the word would score: the floor below every result, stored with the data.

Each baseline learns from the set it is scored on, so it is the best of its kind and no lucky guess is left out.
"""

from __future__ import annotations

import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.mixture import REAL, SPELLING
from spelling_transfer.tokenizer.chat import ChatTokenizer

LIMITS = {"count": 0.35, "position": 0.15}
"""Highest accuracy that a baseline without the word may reach on a test set."""
SMALLEST_CHECKED_SET = 150
"""With fewer questions the most frequent answer to each argument is frequent by chance; such sets are reported only."""

WITHOUT_WORD = ("majority_answer", "answer_by_argument", "letter_by_position")


class BaselineError(SpellingTransferError):
    """A test set could be answered too well without looking at the word."""


def compute_baselines(examples: pd.DataFrame, words: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    """Returns the accuracy of each baseline on each set of questions.

    - ``majority_answer``: always the most frequent answer.
    - ``answer_by_argument``: the most frequent answer to the letter or place asked for.
    - ``letter_by_position``: the most frequent letter at the place asked for, over all words of the split instead of
      over the questions; for spelling the share of letters that the most frequent letter at each place gets right.
    - ``first_token_letter``: the first letter of the word's first token. It does see the word, and shows what can be
      had without knowing what is inside a token.

    Args:
        examples: The examples frame.
        words: The words frame.
        tokenizer: The tokenizer.

    Returns:
        One row a split, word set, task and baseline: ``split``, ``word_set``, ``task``, ``baseline``, ``accuracy``
        (for spelling under ``letter_by_position`` of letters, else of answers), ``questions``, ``limit`` (empty where
        there is none).
    """
    asked = examples[(examples["kind"] == REAL) & examples["split"].isin(["validation", "test"])]
    first_letter = dict(zip(words["word"], _first_letters(words, tokenizer), strict=True))
    rows = []
    for (split, word_set, task), group in asked.groupby(["split", "word_set", "task"], sort=False):
        of_split = words[(words["split"] == split) & (words["word_set"] == word_set)]
        scores = {
            "majority_answer": _share_of_commonest(group["answer"]),
            "answer_by_argument": _by_argument(group),
            "letter_by_position": _letter_by_position(str(task), group, of_split["word"]),
            "first_token_letter": float((group["answer"] == group["word"].map(first_letter)).mean()),
        }
        rows += [
            {
                "split": split,
                "word_set": word_set,
                "task": task,
                "baseline": name,
                "accuracy": round(accuracy, 6),
                "questions": len(group),
                "limit": LIMITS.get(str(task)) if name in WITHOUT_WORD else None,
            }
            for name, accuracy in scores.items()
            if accuracy is not None
        ]
    return pd.DataFrame(rows)


def check_baselines(baselines: pd.DataFrame) -> None:
    """Checks that no test set of a core task can be answered too well without the word.

    Raises:
        BaselineError: A baseline is above its limit.
    """
    checked = baselines[(baselines["split"] == "test") & (baselines["questions"] >= SMALLEST_CHECKED_SET)]
    above = checked[checked["accuracy"] > checked["limit"].astype(float)]
    if len(above):
        worst = above.sort_values("accuracy").iloc[-1]
        raise BaselineError(
            f"The test questions of {worst['task']!r} on word set {worst['word_set']!r} could be answered without the "
            f"word: {worst['baseline']} scores {worst['accuracy']:.3f}, above {worst['limit']}. The word list is too "
            "short or too uniform to balance the questions: give a longer one."
        )


def _first_letters(words: pd.DataFrame, tokenizer: ChatTokenizer) -> list[str]:
    first = [int(ids[0]) for ids in words["ids_spaced"]]
    letter_of = {token: tokenizer.decode([token]).strip()[:1] for token in set(first)}
    return [letter_of[token] for token in first]


def _share_of_commonest(answers: pd.Series) -> float:
    return float(answers.value_counts(normalize=True).iloc[0])


def _by_argument(group: pd.DataFrame) -> float:
    pairs = group.groupby(["argument", "answer"]).size()
    return float(pairs.groupby("argument").max().sum() / len(group))


def _letter_by_position(task: str, group: pd.DataFrame, words: pd.Series) -> float | None:
    if task == "position":
        commonest = {argument: _commonest_letter(int(argument), words) for argument in group["argument"].unique()}
        return float((group["argument"].map(commonest) == group["answer"]).mean())
    if task == SPELLING:
        longest = int(group["word"].str.len().max())
        guess = "".join(_commonest_letter(place, words) for place in range(1, longest + 1))
        right = sum(letter == guess[place] for word in group["word"] for place, letter in enumerate(word))
        return float(right / group["word"].str.len().sum())
    return None


def _commonest_letter(place: int, words: pd.Series) -> str:
    letters = [word[place - 1] if place > 0 else word[place] for word in words if len(word) >= abs(place)]
    return str(pd.Series(letters).value_counts().sort_index().idxmax()) if letters else ""
