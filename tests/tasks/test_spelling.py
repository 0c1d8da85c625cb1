"""Spelling and its relatives: right answers and partial credit."""

import random

import pytest

from spelling_transfer.tasks.registry import load_tasks


def ask(name: str, word: str, **what: str):
    task = load_tasks()[name]
    return task, task.make(word, random.Random(0), template=task.templates[0], **what)


def test_similarity_counts_wrong_left_out_and_added_letters():
    task, example = ask("spelling", "straw")
    assert task.mark(example, "s t r a w").measures["similarity"] == 1.0
    assert task.mark(example, "s t r o w").measures["similarity"] == pytest.approx(4 / 5)
    assert task.mark(example, "s t r a").measures["similarity"] == pytest.approx(4 / 5)
    assert task.mark(example, "s t r a w s").measures["similarity"] == pytest.approx(5 / 6)
    assert task.mark(example, "no idea").measures["similarity"] == 0.0


def test_a_copied_word_is_no_spelling_and_said_to_be_copied():
    task, example = ask("spelling", "straw")
    mark = task.mark(example, "straw")
    assert (mark.exact, mark.lenient, mark.measures["copied"]) == (False, False, 1.0)
    assert mark.invalid
    assert task.mark(example, "s t r a w").measures["copied"] == 0.0


def test_reverse_and_substitute():
    task, example = ask("reverse", "straw")
    assert example.answer == "w a r t s"
    assert not task.mark(example, "s t r a w").lenient
    task, example = ask("substitute", "banana", argument="a>o")
    assert example.question == "Replace every a in banana with o and spell the result."
    assert example.answer == "b o n o n o"
    assert task.mark(example, "b o n o n a").measures["similarity"] == pytest.approx(5 / 6)


def test_first_and_last():
    task, example = ask("first_last", "straw")
    assert example.answer == "s w"
    assert task.mark(example, "s and w").lenient
    assert task.mark(example, "The first letter is s and the last letter is w.").lenient
    assert not task.mark(example, "w and s").lenient
    assert task.mark(example, "s").invalid


def test_length_and_contains():
    task, example = ask("length", "straw")
    assert (example.answer, task.mark(example, "five").lenient) == ("5", True)
    assert task.mark(example, "It has 7 letters").measures["absolute_error"] == 2
    task, example = ask("contains", "straw", argument="z")
    assert example.answer == "no"
    assert task.mark(example, "No, straw does not contain z.").lenient
