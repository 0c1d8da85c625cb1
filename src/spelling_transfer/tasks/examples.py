"""Writes the examples: what is trained on, what may be trained on instead, and what is asked in validation and test."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from operator import attrgetter

import pandas as pd
from pydantic import Field, field_validator

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.tasks.balance import Spreader, choose_equal
from spelling_transfer.tasks.base import DEFAULT_SEPARATOR, SEPARATORS, Example, Task, Template, make_templates
from spelling_transfer.tasks.mixture import CONTROL, POOL, REAL, SPELLING, MixtureSettings, choose_mixture
from spelling_transfer.tasks.registry import CORE_TASKS
from spelling_transfer.tasks.spelling import Spelling
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.randomness import random_for, shuffled
from spelling_transfer.words.word_sets import UNKNOWN_SPELLING

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


TOKEN_LETTERS = "token_letters"
"""Kind, and name of the task, of the examples that say the letters of a token."""

TOKEN_TEMPLATES: tuple[Template, ...] = make_templates(
    TOKEN_LETTERS,
    trained=[
        "Which letters does the token {word} have, and at which places?",
        "Give each letter of the token {word} with its place.",
        "{word}: list the letters of this token with their places.",
        "Number the letters of the token {word}.",
        "{word}: which letter of this token stands where?",
    ],
    held_out=[],
)


class ExamplesError(SpellingTransferError):
    """No examples can be written from the words and settings there are."""


class ExampleMix(MixtureSettings):
    """How many examples are written of what, and which of them are trained on by default."""

    seed: int = Field(0, ge=0, description="Seed of wordings, arguments, variants and of the mixture.")
    spelling_per_word: int = Field(3, ge=1, le=100, description="Spelling examples a training word, in variants.")
    direct_per_word: int = Field(
        1, ge=0, le=100, description="Examples a training word of position, of count and of each trained plugin task."
    )
    separators: tuple[str, ...] = Field(
        tuple(SEPARATORS), min_length=1, description="Separators that wordings ask for: space, comma, hyphen, none."
    )
    case_variants: bool = Field(True, description="Write some training words capitalised or in upper case.")
    control: bool = Field(True, description="Write control examples: the training prompts with another word's answer.")
    token_letters: bool = Field(True, description="Write the letters and places of each token of the training words.")
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
    what a share or difficulty left out), from which :func:`~.mixture.choose_mixture` makes other mixtures;
    ``control`` has the prompts of the real spelling rows with the answers of other words; ``token_letters`` says the
    letters of tokens.

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
        raise ExamplesError(f"Tasks {missing} are not registered: install this package again ('pip install -e .').")
    for split in ("train", "validation", "test"):
        if not (words["split"] == split).any():
            raise ExamplesError(
                f"words: no word family falls into the split {split!r} ({len(words)} words in all). "
                "Give a longer word list, or raise word_selection.max_words."
            )
    with collection_paused():
        rows = [*_training_rows(words, mix, tasks)]
        for split in ("validation", "test"):
            rows += _question_rows(words, split, mix, tasks)
        frame = _frame(rows, words)
    frame = _with_mixture(frame, mix)
    parts = [frame]
    if mix.control:
        parts.append(_control_rows(frame, mix.seed))
    if mix.token_letters:
        parts.append(_token_rows(words, tokenizer))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


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


def _training_rows(words: pd.DataFrame, mix: ExampleMix, tasks: Mapping[str, Task]) -> Iterator[_Row]:
    trained = list(words.loc[words["split"] == "train", "word"])
    for task in trained_tasks(tasks):
        wordings = [template for template in task.templates if not template.held_out]
        spreader = Spreader(task)
        if task.name == SPELLING:
            for word in trained:
                rng = random_for(mix.seed, task.name, word)
                yield f"{SPELLING}-train-{word}-plain", POOL, False, task.make(word, rng, template=wordings[0])
        for number in range(mix.spelling_per_word if task.name == SPELLING else mix.direct_per_word):
            for word in trained:
                yield (
                    f"{task.name}-train-{word}-{number}",
                    POOL,
                    True,
                    _variant(task, word, number, spreader, mix),
                )


def _variant(task: Task, word: str, number: int, spreader: Spreader, mix: ExampleMix) -> Example:
    rng = random_for(mix.seed, task.name, word, number)
    template = rng.choice([each for each in task.templates if not each.held_out])
    shown = rng.choice([word, word, word.capitalize(), word.upper()]) if mix.case_variants else word
    separator = SEPARATORS[rng.choice(mix.separators)][0] if template.asks_separator else DEFAULT_SEPARATOR
    argument = spreader.draw(word, template, rng)
    return task.make(word, rng, template=template, argument=argument, separator=separator, shown=shown)


def _question_rows(words: pd.DataFrame, split: str, mix: ExampleMix, tasks: Mapping[str, Task]) -> Iterator[_Row]:
    """Yields at most one question a family, task and word set; wordings that are not trained on in the test alone."""
    asked = words[words["split"] == split]
    for word_set, group in asked.groupby("word_set", sort=True):
        families = {str(stem): list(words) for stem, words in group.groupby("stem", sort=True)["word"]}
        for name, task in tasks.items():
            if split != "test" and name not in CORE_TASKS:
                continue
            key = (mix.seed, split, word_set, name)
            wordings = [template for template in task.templates if split == "test" or not template.held_out]
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
                yield f"{name}-{split}-{word}", REAL, False, example


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


def _control_rows(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    real = frame[(frame["kind"] == REAL) & (frame["split"] == "train") & (frame["task"] == SPELLING)]
    return real.assign(example_id="control-" + real["example_id"], kind=CONTROL, answer=control_answers(real, seed))


def _token_rows(words: pd.DataFrame, tokenizer: ChatTokenizer) -> pd.DataFrame:
    frame = pd.DataFrame(map(_VALUES, make_token_examples(words, tokenizer)), columns=_EXAMPLE_FIELDS)
    return frame.assign(
        example_id=[f"{TOKEN_LETTERS}-{number}" for number in range(len(frame))],
        kind=TOKEN_LETTERS,
        augmented=False,
        stem=frame["word"],
        word_set="word",
        split="train",
        difficulty="medium",
    )


class ControlError(SpellingTransferError):
    """No control data can be made of the words there are."""


def control_answers(spelling: pd.DataFrame, seed: int) -> list[str]:
    """Returns, for each spelling example, the spelling of another word with the separator asked for.

    With the same prompts and the answers of other words the format is learnt and the knowledge is not. The other word
    comes from another family and, where there is one, has the same length: the control must differ from the real data
    in which letters are right and in nothing else. Within a length the words stand in a circle and each takes the
    answer of the next one, so that every word's letters are said as often as in the real data.

    Args:
        spelling: Rows with ``word``, ``stem`` and ``separator``.
        seed: Salt of the order of words.

    Raises:
        ControlError: All words are of one family.
    """
    stems = dict(zip(spelling["word"], spelling["stem"], strict=True))
    everything = shuffled(stems, seed, "control")
    by_length: dict[int, list[str]] = {}
    for word in everything:
        by_length.setdefault(len(word), []).append(word)
    other: dict[str, str] = {}
    for circle in by_length.values():
        for place, word in enumerate(circle):
            found = _next_of_another_family(circle, place, stems) or _next_of_another_family(
                everything, everything.index(word), stems
            )
            if found is None:
                raise ControlError(
                    f"example_mix.control: all {len(stems)} training words are of the family {stems[word]!r}, so no "
                    "word can take another's answer. Give a longer word list or set example_mix.control to false."
                )
            other[word] = found
    return [
        separator.join(other[word]) for word, separator in zip(spelling["word"], spelling["separator"], strict=True)
    ]


def _next_of_another_family(circle: Sequence[str], place: int, stems: Mapping[str, str]) -> str | None:
    for step in range(1, len(circle)):
        candidate = circle[(place + step) % len(circle)]
        if stems[candidate] != stems[circle[place]]:
            return candidate
    return None


def letters_with_places(token: str) -> str:
    """Returns ``c1 a2 t3`` for ``cat``."""
    return " ".join(f"{letter}{place}" for place, letter in enumerate(token, 1))


def tokens_of(id_lists: Iterable[Iterable[int]], tokenizer: ChatTokenizer) -> list[tuple[int, str, bool]]:
    """Returns the tokens of words as id, letters, and whether a space is part of the token; ascending by id.

    Left out are tokens that, written alone, would be cut differently, so that the question always shows the token.
    """
    ids = sorted({token for ids in id_lists for token in ids})
    texts = [tokenizer.decode([token]) for token in ids]
    alone = tokenizer.encode_texts(texts)
    return [
        (token, text.removeprefix(" "), text.startswith(" "))
        for token, text, encoded in zip(ids, texts, alone, strict=True)
        if encoded == [token] and text.removeprefix(" ").isascii() and text.removeprefix(" ").isalpha()
    ]


def make_token_examples(words: pd.DataFrame, tokenizer: ChatTokenizer) -> list[Example]:
    """Returns one example a token of the training words, the wordings by turns: training data for an arm of its own.

    After TIPA (Xu et al., "Enhancing Character-Level Understanding in LLMs through Token Internal Structure Learning",
    ACL 2025), which trains a model on the letters and places inside the tokens of its own vocabulary. Only tokens of
    training words are used, so that the token-held-out test words stay unseen.

    Args:
        words: The frame of words with ``split``, ``ids_bare`` and ``ids_spaced``.
        tokenizer: The tokenizer.
    """
    trained = words[words["split"] == "train"]
    by_form = {bare: [each for each in TOKEN_TEMPLATES if each.bare == bare] for bare in (True, False)}
    examples = []
    for number, (_, letters, spaced) in enumerate(tokens_of([*trained["ids_bare"], *trained["ids_spaced"]], tokenizer)):
        templates = by_form[not spaced]
        template = templates[number % len(templates)]
        examples.append(
            Example(
                task=TOKEN_LETTERS,
                template=template.name,
                template_held_out=False,
                word=letters.lower(),
                question=template.text.format(word=letters),
                answer=letters_with_places(letters.lower()),
                separator=" ",
            )
        )
    return examples


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
