"""What the embedded model knows of words it was never asked about, and what it says of them in the chat form."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from spelling_transfer.models.generate import generate_answers
from spelling_transfer.models.load import LoadedModel
from spelling_transfer.tasks.balance import Spreader
from spelling_transfer.tasks.base import Example, Task, Template
from spelling_transfer.tasks.registry import CORE_TASKS
from spelling_transfer.tokenizer.chat import ChatTokenizer

_SPELLED_TOKENS = 26
_CHAT_TOKENS = 28
_SEED = 1
_BATCH_SIZE = 256


@dataclass(frozen=True)
class Probe:
    """Questions of one kind, one a word.

    Attributes:
        name: ``plain spelling``, ``plain place``, ``plain count``, or task and wordings, as in ``count, held out``.
        prompts: Token ids of each question.
        answers: The right answers.
        max_new_tokens: Longest answer.
        asked: The examples behind chat questions; empty for plain lines.
    """

    name: str
    prompts: list[list[int]]
    answers: list[str]
    max_new_tokens: int
    asked: list[Example] = field(default_factory=list)


def make_probes(words: Sequence[str], tasks: Mapping[str, Task], tokenizer: ChatTokenizer) -> list[Probe]:
    """Returns the questions about words: three of plain lines, and each task in wordings trained on and held out."""
    rng = random.Random(_SEED)
    lines = tokenizer.encode_texts([f" {word}:\n" for word in words])
    probes = [Probe("plain spelling", lines, [" ".join(word) for word in words], _SPELLED_TOKENS)]
    places = [rng.choice([*range(1, len(word) + 1), *range(-len(word), 0)]) for word in words]
    lines = tokenizer.encode_texts([f" {word}\n{place}:\n" for word, place in zip(words, places, strict=True)])
    letters = [word[place - 1 if place > 0 else place] for word, place in zip(words, places, strict=True)]
    probes.append(Probe("plain place", lines, letters, 1))
    spreader = Spreader(tasks["count"])
    template = tasks["count"].templates[0]
    letters = [spreader.draw(word, template, rng) for word in words]
    lines = tokenizer.encode_texts([f" {word}\n{letter}:\n" for word, letter in zip(words, letters, strict=True)])
    counts = [str(word.count(letter)) for word, letter in zip(words, letters, strict=True)]
    probes.append(Probe("plain count", lines, counts, 1))
    for name in CORE_TASKS:
        for held_out in (False, True):
            templates = [template for template in tasks[name].templates if template.held_out == held_out]
            asked = _ask(tasks[name], words, templates, rng)
            prompts = tokenizer.encode_prompts([example.question for example in asked])
            answers = [example.answer for example in asked]
            name_of = f"{name}, held out" if held_out else name
            probes.append(Probe(name_of, prompts, answers, _CHAT_TOKENS, asked))
    return probes


def _ask(task: Task, words: Sequence[str], templates: Sequence[Template], rng: random.Random) -> list[Example]:
    """Asks each word in one of the wordings by turns, the arguments spread as they are in an evaluation."""
    spreader = Spreader(task)
    turns = [templates[turn % len(templates)] for turn in range(len(words))]
    return [
        task.make(word, rng, template=template, argument=spreader.draw(word, template, rng))
        for word, template in zip(words, turns, strict=True)
    ]


class ProbeScore(NamedTuple):
    """What came of a probe.

    Attributes:
        right: Whether each answer is right, exactly.
        invalid: Whether each answer is none; empty for plain lines.
    """

    right: list[bool]
    invalid: list[bool]


def score_probe(probe: Probe, outputs: Sequence[str], tasks: Mapping[str, Task]) -> ProbeScore:
    """Marks the outputs of a probe."""
    if not probe.asked:
        return ProbeScore([answer == out.strip() for answer, out in zip(probe.answers, outputs, strict=True)], [])
    marks = [tasks[each.task].mark(each, out) for each, out in zip(probe.asked, outputs, strict=True)]
    return ProbeScore([mark.exact for mark in marks], [mark.invalid for mark in marks])


def measure(
    loaded: LoadedModel, tokenizer: ChatTokenizer, tasks: Mapping[str, Task], words: Sequence[str]
) -> pd.DataFrame:
    """Asks a model every probe about some words.

    Args:
        loaded: The model.
        tokenizer: Its tokenizer.
        tasks: The core tasks.
        words: Words it was never asked about in the chat form.

    Returns:
        One row a probe: ``probe``, ``questions``, ``right`` and ``invalid`` (shares, NaN where there is
        nothing to count; plain lines are never invalid).
    """
    rows = []
    for probe in make_probes(words, tasks, tokenizer):
        ids = generate_answers(
            loaded, tokenizer, probe.prompts, max_new_tokens=probe.max_new_tokens, batch_size=_BATCH_SIZE
        )
        score = score_probe(probe, [tokenizer.decode(answer) for answer in ids], tasks)
        rows.append((probe.name, len(probe.prompts), _share(score.right), _share(score.invalid)))
    return pd.DataFrame(rows, columns=["probe", "questions", "right", "invalid"])


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else float("nan")
