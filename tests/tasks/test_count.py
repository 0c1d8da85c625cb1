"""Count: what is asked, so that a constant answer gains nothing."""

import random
from collections import Counter

import pytest

from spelling_transfer.tasks.registry import load_tasks

count = load_tasks()["count"]


@pytest.mark.parametrize(("letter", "answer"), [("r", "3"), ("s", "1"), ("z", "0")])
def test_occurrences_are_counted(letter, answer):
    assert count.gold("strawberry", letter, "") == answer


def test_drawn_counts_are_even_over_what_a_word_can_give():
    drawn = Counter(count.make("mississippi", random.Random(i)).answer for i in range(4000))
    groups = {"0": drawn["0"], "1": drawn["1"], "2": drawn["2"], "3+": drawn["4"]}
    assert sum(groups.values()) == 4000
    assert all(900 < size < 1100 for size in groups.values())  # 1000 expected, standard deviation 27


def test_common_letters_are_absent_too():
    """A letter that is only ever asked for where it does not occur would give the answer away."""
    absent = Counter(
        example.argument for i in range(4000) if (example := count.make("rhythm", random.Random(i))).answer == "0"
    )
    assert absent["e"] > absent["z"] > 0


def test_errors_are_measured():
    example = count.make("strawberry", random.Random(0), argument="r")
    assert count.mark(example, "5").measures == {"absolute_error": 2.0}
    assert count.mark(example, "There are 3 r's in strawberry.").lenient
    assert count.mark(example, "3 of 5").measures == {}


def test_three_and_more_are_one_class():
    assert [count.answer_class(answer) for answer in ("0", "2", "3", "4")] == ["0", "2", "3+", "3+"]
