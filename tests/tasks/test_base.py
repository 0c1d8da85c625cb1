"""The wordings of every task and how an example is made."""

import random

import pytest

from spelling_transfer.tasks.base import SEPARATORS, TaskError, Template
from spelling_transfer.tasks.count import Count
from spelling_transfer.tasks.registry import load_tasks

TASKS = list(load_tasks().values())
ids = [task.name for task in TASKS]


@pytest.mark.parametrize("task", TASKS, ids=ids)
def test_every_task_has_eight_wordings_of_which_three_are_never_trained_on(task):
    assert len(task.templates) >= 8
    assert sum(template.held_out for template in task.templates) >= 3
    assert len({template.text for template in task.templates}) == len(task.templates)
    made = {task.make("straw", random.Random(seed)).template for seed in range(200)}
    assert made == {template.name for template in task.templates if not template.held_out}


@pytest.mark.parametrize("task", TASKS, ids=ids)
def test_the_word_keeps_the_tokens_it_has_in_running_text(task, tokenizer):
    for template in task.templates:
        question = task.make("strawberry", random.Random(0), template=template).question
        (form,) = tokenizer.encode_texts(["strawberry" if template.bare else " strawberry"])
        (question_ids,) = tokenizer.encode_texts([question])
        assert any(question_ids[i : i + len(form)] == form for i in range(len(question_ids)))


@pytest.mark.parametrize("task", TASKS, ids=ids)
def test_an_example_is_the_same_for_the_same_seed_and_word(task):
    assert task.make("straw", random.Random(7)) == task.make("straw", random.Random(7))


def test_a_word_may_be_shown_in_another_case_but_is_spelled_in_lower_case():
    spelling = load_tasks()["spelling"]
    example = spelling.make("straw", random.Random(0), template=spelling.templates[0], shown="STRAW")
    assert (example.question, example.answer, example.word) == (
        "Spell STRAW letter by letter.",
        "s t r a w",
        "straw",
    )


@pytest.mark.parametrize(
    ("name", "answer"), [("space", "c a t"), ("comma", "c,a,t"), ("hyphen", "c-a-t"), ("none", "cat")]
)
def test_the_separator_that_is_asked_for_is_the_exact_one_and_the_others_are_understood(name, answer):
    spelling = load_tasks()["spelling"]
    template = next(each for each in spelling.templates if each.asks_separator)
    example = spelling.make("cat", random.Random(0), template=template, separator=SEPARATORS[name][0])
    assert example.answer == answer
    for other in ("c a t", "c,a,t", "c-a-t", "cat"):
        mark = spelling.mark(example, other)
        understood = other != "cat" or name == "none"  # letters that are asked apart must stand apart
        assert (mark.exact, mark.lenient, mark.invalid) == (other == answer, understood, not understood)
        assert mark.read == (answer if understood else "")


def test_a_wording_that_names_no_separator_wants_spaces():
    spelling = load_tasks()["spelling"]
    assert spelling.make("cat", random.Random(0), template=spelling.templates[0], separator="-").answer == "c a t"


@pytest.mark.parametrize(
    "text", ["{word}: how many {vowels}?", "{word}: how many of {a, e}?", "{word}: how many {}?", "{word.x}?"]
)
def test_a_wording_with_braces_that_nothing_fills_is_named(text):
    template = Template("count/99", text)
    with pytest.raises(TaskError, match=r"count: template 'count/99' cannot be filled in .*'wording' returns"):
        Count().make("cat", random.Random(0), template=template, argument="a")


@pytest.mark.parametrize("word", ["", "Strawberry"])
def test_a_word_with_capitals_is_refused_and_not_counted_wrongly(word: str) -> None:
    """There is no s in "Strawberry", letter by letter."""
    with pytest.raises(ValueError, match=r"no word in lower case; 'shown' says"):
        load_tasks()["count"].make(word, random.Random(0), argument="s")
    example = load_tasks()["count"].make("strawberry", random.Random(0), argument="s", shown="Strawberry")
    assert ("Strawberry" in example.question, example.answer) == (True, "1")
