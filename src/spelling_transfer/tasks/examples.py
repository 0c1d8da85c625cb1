"""Writes the examples: what is trained on, what may be trained on instead, and what is asked in validation and test."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import chain
from operator import attrgetter

import pandas as pd
from pydantic import Field, field_validator

from spelling_transfer.errors import SpellingTransferError, reinstall_command
from spelling_transfer.tasks.arm_examples import (
    indexed_examples,
    made_rows,
    make_token_examples,
    rehearsal_lines,
    wrong_letter_rows,
)
from spelling_transfer.tasks.balance import Spreader, choose_equal
from spelling_transfer.tasks.base import DEFAULT_SEPARATOR, SEPARATORS, Example, Task
from spelling_transfer.tasks.mixture import (
    ASKED,
    INDEXED,
    POOL,
    REAL,
    SPELLING,
    TOKEN_LETTERS,
    MixtureSettings,
    choose_mixture,
)
from spelling_transfer.tasks.registry import CORE_TASKS
from spelling_transfer.tasks.spelling import Spelling
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.randomness import key_of, random_for, shuffled
from spelling_transfer.words.word_sets import TOKEN_HELD_OUT, UNKNOWN_SPELLING, tokens_in

_EXAMPLE_FIELDS = [each.name for each in fields(Example)]
_VALUES = attrgetter(*_EXAMPLE_FIELDS)
_OF_WORD = ["stem", "word_set", "split", "difficulty"]
COLUMNS = [
    "example_id",
    "task",
    "template",
    "template_held_out",
    "kind",
    "augmented",
    "word",
    "stem",
    "word_set",
    "split",
    "difficulty",
    "question",
    "answer",
    "argument",
    "separator",
]


class ExamplesError(SpellingTransferError):
    """No examples can be written from the words and settings there are."""


class ExampleMix(MixtureSettings):
    """How many examples are written of what, and which of them are trained on by default."""

    seed: int = Field(0, ge=0, description="Seed of wordings, arguments, variants and of the mixture.")
    spelling_per_word: int = Field(3, ge=1, le=100, description="Spelling examples per training word, in variants.")
    direct_per_word: int = Field(
        1, ge=0, le=100, description="Examples per training word of position, of count and of each trained plugin task."
    )
    separators: tuple[str, ...] = Field(
        tuple(SEPARATORS), min_length=1, description="Separators that wordings ask for: space, comma, hyphen, none."
    )
    case_variants: bool = Field(True, description="Write some training words capitalised or in upper case.")
    other_arms: bool = Field(
        True, description="Also write training examples for arms other than spelling, position and count."
    )
    spelled_only_share: float = Field(
        0.2, ge=0.0, le=0.9, description="Share of training families of which spelling alone may be trained."
    )
    other_task_questions: int = Field(
        200, ge=0, le=100_000, description="Test questions of each task beyond spelling, position and count."
    )

    @field_validator("separators")
    @classmethod
    def _separators_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in SEPARATORS]:
            raise ValueError(f"{unknown} are no separators; allowed are {list(SEPARATORS)}")
        return names


def write_examples(
    words: pd.DataFrame, tokenizer: ChatTokenizer, mix: ExampleMix, tasks: Mapping[str, Task]
) -> pd.DataFrame:
    """Returns the examples frame.

    Kinds of rows: ``real`` are the default mixture (split ``train``) and the questions of validation and test, one a
    family and task; ``pool`` are further training rows (direct-training data of position and count, plain spelling,
    what a share or difficulty left out), from which :func:`~.mixture.choose_mixture` makes other mixtures; ``asked``
    are questions about training families of which spelling alone is trained, by no arm more; ``wrong_letters``,
    ``indexed`` and ``token_letters`` are what other arms are trained on, and ``rehearsal`` plain lines for all of them
    (:mod:`.arm_examples`).

    Args:
        words: The words frame. Words of unknown spelling are asked about and never trained on.
        tokenizer: The tokenizer, for the tokens.
        mix: How many of what.
        tasks: The registered tasks.

    Raises:
        ExamplesError: A core task is missing, or no word is left to train on or to test with.
        MixtureError: The shares asked for cannot be met.
    """
    words = words[(words["word_set"] != UNKNOWN_SPELLING) | words["split"].isin(("validation", "test"))]
    if missing := [name for name in CORE_TASKS if name not in tasks]:
        raise ExamplesError(
            f"Tasks {missing} are not registered: install this package again ({reinstall_command()!r})."
        )
    for split in ("train", "validation", "test"):
        if not (words["split"] == split).any():
            raise ExamplesError(
                f"words: no word family falls into the split {split!r} ({len(words)} words in all). "
                "Give a longer word list, or raise word_selection.max_words; 'kedro peek dropped_words' says what was "
                "left out of the list."
            )
    with collection_paused():
        rows = [*_training_rows(words, mix, tasks, _shown_forms(words, tokenizer) if mix.case_variants else {})]
        for split in ("validation", "test"):
            rows += _question_rows(words[words["split"] == split], split, mix, tasks)
        core = {name: tasks[name] for name in CORE_TASKS}
        rows += _question_rows(words[_is_spelled_only(words, mix)], ASKED, mix, core, kind=ASKED)
        frame = _frame(rows, words)
        frame = _with_mixture(frame, mix)
        parts = [frame]
        if mix.other_arms:
            parts += [
                wrong_letter_rows(frame, mix.seed),
                made_rows(INDEXED, indexed_examples(words), words),
                made_rows(TOKEN_LETTERS, make_token_examples(words, tokenizer), words),
            ]
    return pd.concat([*parts, rehearsal_lines(words)], ignore_index=True)[COLUMNS]


def spelling_questions(words: pd.DataFrame) -> pd.DataFrame:
    """Returns the plain spelling question of each word, and its answer, at the index of the word."""
    task = Spelling()
    rng = random_for("difficulty")
    examples = [task.make(word, rng, template=task.templates[0]) for word in words["word"]]
    columns = ["word", "question", "answer"]
    return pd.DataFrame([[getattr(each, name) for name in columns] for each in examples], words.index, columns)


_Row = tuple[str, str, bool, Example]
"""Id, kind, whether it is a variant, and the example."""


def trained_tasks(tasks: Mapping[str, Task]) -> list[Task]:
    """Returns the tasks that training examples are written of: the core ones, and plugins that are trained."""
    return [task for name, task in tasks.items() if name in CORE_TASKS or task.trained_by_default]


def _is_spelled_only(words: pd.DataFrame, mix: ExampleMix) -> pd.Series:
    """Marks the training families of which no arm learns anything but the spelling."""
    bound = round(1_000 * mix.spelled_only_share)
    chosen = {stem: key_of("spelled only", stem) % 1_000 < bound for stem in words["stem"].unique()}
    return (words["split"] == "train") & words["stem"].map(chosen)


def _shown_forms(words: pd.DataFrame, tokenizer: ChatTokenizer) -> dict[str, list[str]]:
    """Returns the forms of each training word to draw from, none with a token that is held out with its words."""
    held_out = tokens_in(words[words["word_set"] == TOKEN_HELD_OUT])
    trained = words.loc[words["split"] == "train", "word"].tolist()
    forms = [form for word in trained for form in (word.capitalize(), word.upper())]
    ids = zip(tokenizer.encode_texts(forms), tokenizer.encode_texts([f" {form}" for form in forms]), strict=True)
    kept = {form for form, each in zip(forms, ids, strict=True) if held_out.isdisjoint(chain(*each))}
    capitals = {word: (word.capitalize(), word.upper()) for word in trained}
    return {word: [word, word, *(each if each in kept else word for each in capitals[word])] for word in trained}


def _training_rows(
    words: pd.DataFrame, mix: ExampleMix, tasks: Mapping[str, Task], forms: Mapping[str, list[str]]
) -> Iterator[_Row]:
    spelled = list(words.loc[words["split"] == "train", "word"])
    direct = list(words.loc[(words["split"] == "train") & ~_is_spelled_only(words, mix), "word"])
    for task in trained_tasks(tasks):
        trained = spelled if task.name == SPELLING else direct
        wordings = [template for template in task.templates if not template.held_out]
        spreader = Spreader(task)
        if task.name == SPELLING:
            for word in trained:
                rng = random_for(mix.seed, task.name, word)
                yield f"{SPELLING}-train-{word}-plain", POOL, False, task.make(word, rng, template=wordings[0])
        for number in range(mix.spelling_per_word if task.name == SPELLING else mix.direct_per_word):
            for word in trained:
                example = _variant(task, word, number, spreader, mix, forms.get(word))
                yield f"{task.name}-train-{word}-{number}", POOL, True, example


def _variant(
    task: Task, word: str, number: int, spreader: Spreader, mix: ExampleMix, forms: Sequence[str] | None
) -> Example:
    rng = random_for(mix.seed, task.name, word, number)
    template = rng.choice([each for each in task.templates if not each.held_out])
    shown = rng.choice(forms) if forms else word
    separator = SEPARATORS[rng.choice(mix.separators)][0] if template.asks_separator else DEFAULT_SEPARATOR
    argument = spreader.draw(word, template, rng)
    return task.make(word, rng, template=template, argument=argument, separator=separator, shown=shown)


def _question_rows(
    asked: pd.DataFrame, split: str, mix: ExampleMix, tasks: Mapping[str, Task], kind: str = REAL
) -> Iterator[_Row]:
    """Yields at most one question a family, task and word set; of wordings never trained on none in validation."""
    for word_set, group in asked.groupby("word_set", sort=True):
        families = {str(stem): list(words) for stem, words in group.groupby("stem", sort=True)["word"]}
        for name, task in tasks.items():
            if split == "validation" and name not in CORE_TASKS:
                continue
            key = (mix.seed, split, word_set, name)
            wordings = [template for template in task.templates if split != "validation" or not template.held_out]
            spreader = Spreader(task)
            served = shuffled(families, *key)[: None if name in CORE_TASKS else mix.other_task_questions]
            arguments: dict[str, str] = {}
            if task.equal_classes:
                arguments = dict(choose_equal(task, {stem: families[stem] for stem in served}, mix.seed))
                asked_words = shuffled(arguments, *key, "wording")
            else:
                asked_words = [shuffled(families[stem], *key)[0] for stem in served]
            for turn, word in enumerate(asked_words):
                template = wordings[turn % len(wordings)]
                rng = random_for(*key, word)
                separator = SEPARATORS[rng.choice(mix.separators)][0] if template.asks_separator else DEFAULT_SEPARATOR
                argument = arguments.get(word) or spreader.draw(word, template, rng)
                example = task.make(word, rng, template=template, argument=argument, separator=separator)
                yield f"{name}-{split}-{word}", kind, False, example


def _frame(rows: Sequence[_Row], words: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame(
        [(*row[:3], *_VALUES(row[3])) for row in rows], columns=["example_id", "kind", "augmented", *_EXAMPLE_FIELDS]
    )
    facts = words.set_index("word")[_OF_WORD]
    return pd.concat([frame, facts.loc[frame["word"]].reset_index(drop=True)], axis=1)


def _with_mixture(frame: pd.DataFrame, mix: ExampleMix) -> pd.DataFrame:
    chosen = choose_mixture(frame, mix, seed=mix.seed).index
    kind = frame["kind"].to_numpy(dtype=object)
    kind[chosen] = REAL
    return frame.assign(kind=kind)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pauses the cyclic garbage collector for the block.

    Writing and encoding examples makes large numbers of small objects and no cycles; looking for cycles among them
    takes half of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
