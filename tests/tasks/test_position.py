"""Position: places from both ends, and what is asked."""

import random
from collections import Counter

import pytest

from spelling_transfer.tasks.marking import ordinal
from spelling_transfer.tasks.registry import load_tasks

position = load_tasks()["position"]


@pytest.mark.parametrize(
    ("argument", "answer"), [("1", "s"), ("3", "r"), ("5", "w"), ("-1", "w"), ("-2", "a"), ("-5", "s")]
)
def test_places_count_from_one_and_from_the_end(argument, answer):
    assert position.gold("straw", argument, "") == answer


def test_every_place_can_be_asked_the_last_one_included():
    for template in position.templates:
        sign = -1 if template.variant else 1
        assert position.arguments("straw", template) == [str(sign * place) for place in range(1, 6)]


def test_from_the_end_is_asked_in_words_that_say_so():
    for template in position.templates:
        question = position.make("straw", random.Random(0), template=template).question
        assert ("end" in question or "backwards" in question) == (template.variant == "from_end")


def test_all_places_are_asked_equally_often():
    template = position.templates[0]
    asked = Counter(position.make("straw", random.Random(i), template=template).argument for i in range(2000))
    assert set(asked) == {"1", "2", "3", "4", "5"}
    assert min(asked.values()) > 320  # 400 expected, standard deviation 18


@pytest.mark.parametrize("template", [None, position.templates[0], position.templates[-1]])
@pytest.mark.parametrize("argument", ["0", "6", "-6", "two", 1])
def test_a_place_that_the_word_does_not_have_is_refused(template, argument):
    with pytest.raises(ValueError, match=r"position: .* cannot be asked of 'straw' here, only '-?1', '-?2'"):
        position.make("straw", random.Random(0), template=template, argument=argument)


@pytest.mark.parametrize(("argument", "answer"), [("2", "t"), ("-2", "a")])
def test_the_wording_fits_the_place_that_is_asked_for(argument, answer):
    for seed in range(20):
        example = position.make("straw", random.Random(seed), argument=argument)
        assert example.answer == answer
        assert ("end" in example.question) == argument.startswith("-")


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st")]
)
def test_ordinals(number, text):
    assert ordinal(number) == text


def test_a_place_that_was_not_asked_makes_an_answer_unreadable():
    example = position.make("straw", random.Random(0), template=position.templates[0], argument="3")
    assert position.mark(example, "The 3rd letter of straw is r.").lenient
    assert position.mark(example, "The 4th letter of straw is r.").invalid
