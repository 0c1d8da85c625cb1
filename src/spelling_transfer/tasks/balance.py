"""What is asked of which word, so that the right answer cannot be guessed without looking at it, and the check of that.

Each baseline learns from the set it is scored on, so it is the best of its kind and no lucky guess is left out. What
they score is the floor below every result, stored with the data.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.base import Task, TaskError, Template
from spelling_transfer.tasks.mixture import REAL, SPELLING
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.randomness import shuffled

_LARGEST_SHARE = 0.12
"""No answer may take more than this share, of all questions or of those with the same argument, while they are drawn.
Three points below the 15% that a baseline may reach, since where few questions share an argument, one is a large share.
"""


class Question(NamedTuple):
    """A word and what is asked of it."""

    word: str
    argument: str


def choose_equal(task: Task, families: Mapping[str, Sequence[str]], seed: int) -> list[Question]:
    """Chooses at most one question a family, each answer class equally often for every argument.

    With that, neither the most frequent answer nor the most frequent answer to the letter asked for beats chance: of
    the questions on "e", a quarter each has 0, 1, 2 and 3 or more. Families that would upset the balance are left out;
    how many remain depends on the scarcest class.

    Args:
        task: A task with ``equal_classes`` whose arguments do not depend on the wording.
        families: Stem to words.
        seed: Salt of the order in which families are served.
    """
    supply: dict[str, dict[str, dict[str, str]]] = {each: {} for each in task.equal_classes}
    order = shuffled(families, seed, task.name, "families")
    for stem in order:
        for word in shuffled(families[stem], seed, task.name, "words"):
            for argument in task.arguments(word, task.templates[0]):
                answer_class = task.answer_class(task.gold(word, argument, ""))
                if answer_class in supply:
                    supply[answer_class].setdefault(argument, {}).setdefault(stem, word)
    by_scarcity = sorted(supply, key=lambda each: len(set().union(*supply[each].values())))
    chosen: dict[str, dict[str, list[Question]]] = {}
    used: set[str] = set()
    quota = _spread_scarcest(supply[by_scarcity[0]], order, most=len(families) // len(by_scarcity))
    for answer_class in by_scarcity:
        by_argument = chosen.setdefault(answer_class, {})
        # The argument with the least to spare is served first.
        for argument in sorted(quota, key=lambda each: (len(supply[answer_class].get(each, {})) - quota[each], each)):
            available = supply[answer_class].get(argument, {})
            stems = [stem for stem in available if stem not in used][: quota[argument]]
            used.update(stems)
            by_argument[argument] = [Question(available[stem], argument) for stem in stems]
        quota = {argument: len(questions) for argument, questions in by_argument.items() if questions}
    return [
        question
        for by_argument in chosen.values()
        for argument, size in sorted(quota.items())
        for question in by_argument[argument][:size]
    ]


def _spread_scarcest(by_argument: Mapping[str, Mapping[str, str]], order: Sequence[str], most: int) -> dict[str, int]:
    """Gives families that have the scarcest class to the argument that has fewest so far; returns their numbers."""
    quota: Counter[str] = Counter()
    for stem in order:
        if quota.total() >= most:
            break
        arguments = [argument for argument, stems in by_argument.items() if stem in stems]
        if arguments:
            quota[min(arguments, key=lambda each: (quota[each], each))] += 1
    return dict(quota)


class Spreader:
    """Draws what is asked of one word after another so that no answer becomes frequent.

    Args:
        task: The task.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._arguments: Counter[str] = Counter()
        self._classes: Counter[str] = Counter()

    def draw(self, word: str, template: Template, rng: random.Random) -> str:
        """Returns an argument for the word and takes note of its answer.

        Args:
            word: The word.
            template: The wording, which may allow some arguments only.
            rng: Decides with which argument the search begins.

        Raises:
            TaskError: The task has nothing to ask of the word.
        """
        arguments = self._task.arguments(word, template)
        if not arguments:
            raise TaskError(
                f"{self._task.name}: 'arguments' is empty for {word!r}. A task asks something of every word."
            )
        if len(arguments) == 1:
            return arguments[0]
        start = rng.randrange(len(arguments))
        arguments = [*arguments[start:], *arguments[:start]]
        argument, answer_class = (
            self._even(word, arguments) if self._task.equal_classes else self._capped(word, arguments)
        )
        self._pairs[argument, answer_class] += 1
        self._arguments[argument] += 1
        self._classes[answer_class] += 1
        return argument

    def _class_of(self, word: str, argument: str) -> str:
        return self._task.answer_class(self._task.gold(word, argument, ""))

    def _capped(self, word: str, arguments: Sequence[str]) -> tuple[str, str]:
        """Takes the first that keeps every share within the limit, else the one that exceeds it least."""
        least = float("inf"), "", ""
        total = self._classes.total()
        for argument in arguments:
            answer_class = self._class_of(word, argument)
            of_argument = _over_limit(self._pairs[argument, answer_class], self._arguments[argument])
            excess = max(of_argument, _over_limit(self._classes[answer_class], total))
            if excess <= 1:
                return argument, answer_class
            least = min(least, (excess, argument, answer_class))
        return least[1:]

    def _even(self, word: str, arguments: Sequence[str]) -> tuple[str, str]:
        """Takes the rarest class so far, and of its arguments the one with the fewest answers of that class."""
        by_class: dict[str, list[str]] = {}
        for argument in arguments:
            by_class.setdefault(self._class_of(word, argument), []).append(argument)
        rarest = min(by_class, key=lambda each: (self._classes[each], each))
        share = 1 / len(self._task.equal_classes)
        pairs, asked = self._pairs, self._arguments
        return min(by_class[rarest], key=lambda each: pairs[each, rarest] - share * asked[each]), rarest


def _over_limit(right: int, asked: int) -> float:
    """Returns what one more of an answer would be, relative to what is allowed; one of a kind always is."""
    return (right + 1) / max(1, _LARGEST_SHARE * (asked + 1))


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
