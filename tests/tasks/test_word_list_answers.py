"""The lenient reader over the whole word list: no word said back, and no wrong answer, is read as right."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from tests.tasks.test_marking import LIKE_ANSWERS, wrong_answer

from spelling_transfer.tasks import base, marking
from spelling_transfer.tasks.base import Example, Task
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.words.word_list import dictionary_words, frequent_words

_LETTER_NAMES = """
ay bee cee dee ee eff gee aitch haitch jay kay ell em en oh pee cue queue ar are ess tee tea you vee double ex why wye
zed zee eye sea see be
""".split()  # noqa: SIM905 - as a list it takes a line for each
_LIKE_ANSWERS = [*LIKE_ANSWERS, *_LETTER_NAMES]
_FORMS = ("{0}", '"{0}"', "“{0}”", "**{0}**", "{0}.", "`{0}`", "\n{0}\n", "*{0}*!")
_NUMBERS = {word: str(number) for number, word in enumerate(marking._NUMERALS.split())}
_NUMBERS |= {"once": "1", "twice": "2", "thrice": "3"}


def _said_back_is_right(task: str, example: Example) -> bool:
    """Whether a word alone is the right answer to the question about it, by a table of its own."""
    if task in ("count", "length"):
        return _NUMBERS.get(example.word) == example.answer
    if task in ("spelling", "reverse", "substitute"):
        return not example.separator and example.word == example.answer
    return task == "contains" and example.word == example.answer


def _words() -> list[str]:
    """Every word of the list that can be asked about, with those that look like answers."""
    common = [word for word in frequent_words(115_000) if word in dictionary_words()]
    words = [word for word in common if word.isascii() and word.isalpha() and 2 <= len(word) <= 16]
    return list(dict.fromkeys([*_LIKE_ANSWERS, *words]))


def _asked(tasks: dict[str, Task], words: list[str]) -> Iterator[tuple[str, Task, Example, int]]:
    """One question about each word in each task; which wording, argument and form changes from word to word."""
    rng = random.Random(17)
    for number, word in enumerate(words):
        for name, task in tasks.items():
            template = task.templates[number % len(task.templates)]
            if arguments := task.arguments(word, template):
                argument = arguments[rng.randrange(len(arguments))]
                separator = (" ", "", ",", "-")[number % 4]
                example = task.make(word, rng, template=template, argument=argument, separator=separator)
                yield name, task, example, number


def _read_wrong_as_right(words: list[str]) -> list[tuple[str, Example, str]]:
    tasks = load_tasks()
    alike, found = set(_LIKE_ANSWERS), []
    for name, task, example, number in _asked(tasks, words):
        forms = _FORMS if example.word in alike else (_FORMS[(number + len(name)) % len(_FORMS)],)
        right = _said_back_is_right(name, example)
        for form in forms:
            said = form.format(example.word)
            for output in (said, said.title(), said.upper()) if example.word in alike else (said.title(),):
                if task.mark(example, output).lenient and not right:
                    found.append((name, example, output))
        if example.word in alike or (number + len(name)) % 4 == 0:
            for form in forms:
                output = form.format(wrong_answer(example.answer))
                if task.mark(example, output).lenient:
                    found.append((name, example, output))
    return found


def test_no_word_said_back_and_no_wrong_answer_is_read_as_right() -> None:
    words = _words()
    assert len(words) > 36_000
    assert _read_wrong_as_right(words) == []


def test_every_word_s_right_answer_is_read_in_each_form() -> None:
    unread = []
    words = _words()
    chosen = words[: len(set(_LIKE_ANSWERS))] + words[len(set(_LIKE_ANSWERS)) :: 7]
    for _, task, example, number in _asked(load_tasks(), chosen):
        output = _FORMS[number % len(_FORMS)].format(example.answer)
        if example.separator and len(example.answer) < 3:
            continue
        if not task.mark(example, output).lenient:
            unread.append((example, output))
    assert unread == []


def test_a_reader_that_takes_whatever_stands_there_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def any_word(output: str, *_rest: object, **_more: object) -> list[str]:
        return [str(len(output.strip('"“”*.`!\n')))]

    monkeypatch.setattr(marking, "_read_pieces", any_word)
    assert _read_wrong_as_right(_words()[:400]) != []


def test_a_reader_that_takes_a_bare_word_for_its_spelling_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "is_bare", lambda _output, _word: False)
    assert {name for name, _, _ in _read_wrong_as_right(_words()[:400])} == {"spelling", "reverse"}
