"""Questions whose answers cannot be guessed, and what answers that never look at the word score."""

from __future__ import annotations

import random
from collections import Counter

import pandas as pd
import pytest

from spelling_transfer.tasks.balance import BaselineError, Spreader, check_baselines, choose_equal, compute_baselines
from spelling_transfer.tasks.base import TaskError
from spelling_transfer.tasks.mixture import REAL
from spelling_transfer.tasks.position import Position
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.words.randomness import shuffled

TASKS = load_tasks()


def families_of(words):
    real = words[words["word_set"] == "word"]
    return {str(stem): list(group) for stem, group in real.groupby("stem")["word"]}


def test_counts_are_equally_often_right_for_every_letter(words):
    families = families_of(words)
    count = TASKS["count"]
    chosen = choose_equal(count, families, seed=0)
    classes = Counter((argument, count.answer_class(count.gold(word, argument, ""))) for word, argument in chosen)
    for letter in {argument for _, argument in chosen}:
        assert len({classes[letter, each] for each in count.equal_classes}) == 1
    assert len(chosen) > 200


def test_no_family_is_asked_twice(words):
    families = families_of(words)
    stem_of = {word: stem for stem, members in families.items() for word in members}
    stems = [stem_of[word] for word, _ in choose_equal(TASKS["contains"], families, seed=0)]
    assert len(stems) == len(set(stems))
    assert len(stems) >= len(families) - 60  # nearly all can serve; the rest would upset the balance of a letter


def test_questions_do_not_depend_on_the_order_of_words(words):
    families = families_of(words)
    backwards = {stem: families[stem][::-1] for stem in reversed(families)}
    assert choose_equal(TASKS["count"], families, 3) == choose_equal(TASKS["count"], backwards, 3)
    assert choose_equal(TASKS["count"], families, 3) != choose_equal(TASKS["count"], families, 4)


def test_a_task_that_has_nothing_to_ask_of_a_word_is_named():
    class Doubled(Position):
        def arguments(self, word, template):
            return [letter for letter in "abc" if word.count(letter) == 2]

    with pytest.raises(TaskError, match="position: 'arguments' is empty for 'house'"):
        Spreader(Doubled()).draw("house", Doubled.templates[0], random.Random(0))


def test_no_letter_is_the_answer_at_a_place_too_often(words):
    position = TASKS["position"]
    spreader = Spreader(position)
    asked, rng = Counter(), random.Random(0)
    for word in shuffled(words["word"], 0):
        for template in (position.templates[0], position.templates[5]):
            argument = spreader.draw(word, template, rng)
            asked[argument, position.gold(word, argument, "")] += 1
    places = {argument for argument, _ in asked}
    assert {"1", "2", "7", "-1", "-2", "-7"} <= places
    for place in places:
        shares = Counter({letter: n for (argument, letter), n in asked.items() if argument == place})
        if shares.total() > 100:
            assert max(shares.values()) / shares.total() < 0.14


def test_direct_training_counts_are_even(words):
    count = TASKS["count"]
    spreader = Spreader(count)
    rng = random.Random(0)
    drawn = [(word, spreader.draw(word, count.templates[0], rng)) for word in shuffled(words["word"], 0)]
    classes = Counter(count.answer_class(count.gold(word, letter, "")) for word, letter in drawn)
    assert classes.most_common(1)[0][1] / len(drawn) < 0.36
    assert len({letter for _, letter in drawn}) == 26


@pytest.fixture(scope="module")
def baselines(examples, words, tokenizer):
    return compute_baselines(examples, words, tokenizer).set_index(["split", "word_set", "task", "baseline"])


def test_no_constant_answer_does_well(baselines):
    check_baselines(baselines.reset_index())
    accuracy = baselines["accuracy"]
    assert accuracy["test", "word", "count", "majority_answer"] == 0.25
    assert accuracy["test", "word", "count", "answer_by_argument"] == 0.25
    assert accuracy["test", "word", "position", "majority_answer"] < 0.15
    assert accuracy["test", "word", "position", "letter_by_position"] < 0.15
    assert 0 < accuracy["test", "word", "spelling", "letter_by_position"] < 0.25


def test_the_first_letter_of_the_token_is_right_where_the_first_letter_is_asked(examples, words, tokenizer):
    first = examples[(examples["task"] == "position") & (examples["argument"] == "1") & (examples["split"] == "test")]
    table = compute_baselines(first, words, tokenizer).set_index(["word_set", "baseline"])
    assert table.loc[("word", "first_token_letter"), "accuracy"] == 1.0


def test_a_test_set_that_gives_answers_away_is_refused(words, tokenizer):
    word = "straw"
    rows = pd.DataFrame(
        {
            "kind": REAL,
            "split": "test",
            "word_set": "word",
            "task": "count",
            "word": word,
            "argument": "s",
            "answer": ["1"] * 140 + ["0"] * 60,
        }
    )
    with pytest.raises(BaselineError, match=r"'count' on word set 'word'.* scores 0\.700, above 0\.35"):
        check_baselines(compute_baselines(rows, words, tokenizer))
