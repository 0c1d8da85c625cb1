"""What the embedded model knows of words it was never asked about, and what it says of them in the chat form."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Probe:
    """Questions of one kind, one a word.

    Attributes:
        name: ``plain spelling``, ``plain place``, ``plain count``, or task and wordings, as in ``count, held out``.
        words: The word of each question.
        prompts: Token ids of each question.
        answers: The right answers.
        max_new_tokens: Longest answer.
        asked: The examples behind chat questions; empty for plain lines.
    """

    name: str
    words: list[str]
    prompts: list[list[int]]
    answers: list[str]
    max_new_tokens: int
    asked: list[Example] = field(default_factory=list)


def make_probes(words: Sequence[str], tasks: Mapping[str, Task], tokenizer: ChatTokenizer) -> list[Probe]:
    """Returns the questions about words: three of plain lines, and each task in wordings trained on and held out."""
    rng = random.Random(_SEED)
    words = list(words)
    lines = tokenizer.encode_texts([f" {word}:\n" for word in words])
    probes = [Probe("plain spelling", words, lines, [" ".join(word) for word in words], _SPELLED_TOKENS)]
    places = [rng.choice([*range(1, len(word) + 1), *range(-len(word), 0)]) for word in words]
    lines = tokenizer.encode_texts([f" {word}\n{place}:\n" for word, place in zip(words, places, strict=True)])
    letters = [word[place - 1 if place > 0 else place] for word, place in zip(words, places, strict=True)]
    probes.append(Probe("plain place", words, lines, letters, 1))
    spreader = Spreader(tasks["count"])
    template = tasks["count"].templates[0]
    letters = [spreader.draw(word, template, rng) for word in words]
    lines = tokenizer.encode_texts([f" {word}\n{letter}:\n" for word, letter in zip(words, letters, strict=True)])
    counts = [str(word.count(letter)) for word, letter in zip(words, letters, strict=True)]
    probes.append(Probe("plain count", words, lines, counts, 1))
    for name in CORE_TASKS:
        for held_out in (False, True):
            templates = [template for template in tasks[name].templates if template.held_out == held_out]
            asked = _ask(tasks[name], words, templates, rng)
            prompts = tokenizer.encode_prompts([example.question for example in asked])
            answers = [example.answer for example in asked]
            name_of = f"{name}, held out" if held_out else name
            probes.append(Probe(name_of, words, prompts, answers, _CHAT_TOKENS, asked))
    return probes


def _ask(task: Task, words: Sequence[str], templates: Sequence[Template], rng: random.Random) -> list[Example]:
    """Asks each word in one of the wordings by turns, the arguments spread as they are in an evaluation."""
    spreader = Spreader(task)
    turns = [templates[turn % len(templates)] for turn in range(len(words))]
    return [
        task.make(word, rng, template=template, argument=spreader.draw(word, template, rng))
        for word, template in zip(words, turns, strict=True)
    ]


@dataclass(frozen=True)
class ProbeScore:
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


def floors(probe: Probe, first_letter: Callable[[str], str]) -> dict[str, float]:
    """Returns what answers without knowing the word's spelling score, each the best of its kind on these questions.

    - ``majority``: the most frequent answer.
    - ``by argument``: the most frequent answer to the letter or place asked for.
    - ``letter of the word``: a random letter of the word, expected; for counts and spelling not defined.
    - ``first letter``: the first letter of the word's first token.

    Args:
        probe: Questions in the chat form.
        first_letter: The first letter of a word's first token.
    """
    frame = pd.DataFrame(
        {"answer": probe.answers, "argument": [each.argument for each in probe.asked], "word": probe.words}
    )
    best = frame.groupby("argument")["answer"].agg(lambda answers: answers.value_counts().iloc[0])
    scores = {
        "majority": float(frame["answer"].value_counts().iloc[0] / len(frame)),
        "by argument": float(best.sum() / len(frame)),
        "first letter": float((frame["answer"] == frame["word"].map(first_letter)).mean()),
    }
    if probe.name.startswith("position"):
        shares = [word.count(answer) / len(word) for word, answer in zip(frame["word"], frame["answer"], strict=True)]
        scores["letter of the word"] = float(sum(shares) / len(shares))
    return scores


def measure(
    loaded: LoadedModel,
    tokenizer: ChatTokenizer,
    tasks: Mapping[str, Task],
    words: Sequence[str],
    *,
    batch_size: int = 256,
) -> pd.DataFrame:
    """Asks a model every probe about some words.

    Args:
        loaded: The model.
        tokenizer: Its tokenizer.
        tasks: The core tasks.
        words: Words it was never asked about in the chat form.
        batch_size: Questions that are answered side by side.

    Returns:
        One row a probe: ``probe``, ``questions``, ``right`` and ``invalid`` (shares, NaN where there is
        nothing to count; plain lines are never invalid).
    """
    rows = []
    for probe in make_probes(words, tasks, tokenizer):
        ids = generate_answers(
            loaded, tokenizer, probe.prompts, max_new_tokens=probe.max_new_tokens, batch_size=batch_size
        )
        score = score_probe(probe, [tokenizer.decode(answer) for answer in ids], tasks)
        rows.append((probe.name, len(probe.words), _share(score.right), _share(score.invalid)))
    return pd.DataFrame(rows, columns=["probe", "questions", "right", "invalid"])


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else float("nan")
