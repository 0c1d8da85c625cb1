"""Questions in both forms, their marks, contamination, and the sums."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pandas as pd
import pytest

from spelling_transfer.bench import (
    BenchError,
    Contents,
    Item,
    ask,
    differences,
    exposure,
    first_of_each_kind,
    load_sets,
    registry,
    score,
)
from spelling_transfer.bench.base import as_task
from spelling_transfer.statistics import wilson_interval


class Doubles:
    """A set of the test's own: the answer stands in brackets."""

    name = "doubles"
    title = source = licence = needs = "made up"

    def read(self, path, size):
        return Contents()

    def mark(self, item, output):
        return output == f"[{item.answer}]"


def item(word: str, answer: str = "1", letter: str = "o", kind: str = "one") -> Item:
    return Item(
        f"{kind}/{word}", kind, word, f'Count "{letter}" in "{word}".', answer, "number", (letter,), " [",
        as_task("count", word, answer, letter),
    )  # fmt: skip


def test_both_forms_are_asked_and_each_is_marked_in_its_way():
    asked = []

    def answer(questions, prefills):
        asked.append((list(questions), list(prefills)))
        return [("[1]", True), ("1", True), ("x", False)][: len(questions)]

    items = [item("fox"), item("crow"), item("Otter", "0")]
    rows, not_asked = ask(Doubles(), items, answer)
    assert not_asked == {}
    assert asked[0] == (['Count "o" in "fox".', 'Count "o" in "crow".', 'Count "o" in "Otter".'], [" ["] * 3)
    assert asked[1] == ([f"How many times does the letter o occur in {w}?" for w in ("fox", "crow")], ["", ""])
    marks = rows.set_index(["form", "text"])[["correct", "lenient", "invalid", "ended"]]
    assert marks.loc["authors"].to_numpy().tolist() == [
        [True, True, False, True],
        [False, True, False, True],
        [False, False, True, False],
    ]
    assert marks.loc["ours"].to_numpy().tolist() == [[False, True, False, True], [True, True, False, True]]


def test_a_question_that_a_model_cannot_read_is_counted_and_never_scored():
    rows, not_asked = ask(Doubles(), [item("fox"), item("crow")], lambda questions, _: ["odd", ("1", True)])
    assert not_asked == {"authors: odd": 1, "ours: odd": 1}
    assert rows["text"].tolist() == ["crow", "crow"]
    with pytest.raises(BenchError, match="none of its 1 questions got an answer to score: authors: odd"):
        ask(Doubles(), [item("fox")], lambda questions, _: ["odd"])


@pytest.mark.parametrize(
    ("word", "answer", "argument"), [("Fox", "1", "o"), ("fo x", "1", "o"), ("fox", "2", "o"), ("fox", "1", "?")]
)
def test_what_our_task_would_ask_or_answer_otherwise_is_not_asked_in_our_form(word, answer, argument):
    assert as_task("count", word, answer, argument) is None


def test_contamination_is_by_word_and_by_family():
    words = pd.DataFrame({"word": ["sprint", "otter", "crow"], "split": ["train", "pretrain", "test"]})
    texts = ["Otter", "sprinting", "crow", "an owl", "no sprints", "öotter", "otteré-2"]
    known = exposure(texts, words)
    assert known["seen"].tolist() == ["word", "family", "", "", "family", "", ""]
    assert known["family"].tolist() == ["otter", "sprint", "crow", "an owl", "no sprints", "öotter", "otteré"]


def answers_of(rows: list[tuple[str, str, bool, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["arm", "item_id", "correct", "seen"])
    return frame.assign(
        seed=-1, form="ours", kind="one", family=frame["item_id"].str[0], lenient=frame["correct"], invalid=False
    )


def test_scores_are_over_all_and_over_clean_items():
    answers = answers_of([("base", f"{n}", n < 6, "word" if n < 4 else "") for n in range(10)])
    found = score(answers).set_index("items")
    assert found["n"].to_dict() == {"all": 10, "clean": 6}
    assert found["correct"].to_dict() == pytest.approx({"all": 0.6, "clean": 1 / 3})
    assert tuple(found.loc["clean", ["low", "high"]]) == pytest.approx(tuple(wilson_interval(2, 6)))
    answers["seen"] = "word"
    assert score(answers).set_index("items").loc["clean", ["n", "correct"]].isna().tolist() == [False, True]


def test_arms_are_compared_on_the_same_items():
    base = [("base", f"{n}", False, "") for n in range(10)]
    arm = [("spelling", f"{n}", n < 8, "") for n in range(9)]
    found = differences(answers_of([*base, *arm]), "base").set_index("items").loc["all"]
    assert (found["n"], found["difference"]) == (9, pytest.approx(8 / 9))
    assert found["low"] > 0
    assert differences(answers_of(base), "base").empty


def test_the_first_of_each_kind():
    items = [item(word, kind=kind) for word, kind in (("fox", "b"), ("owl", "a"), ("crow", "b"), ("toad", "b"))]
    assert [each.text for each in first_of_each_kind(items, 2)] == ["fox", "owl", "crow"]
    assert first_of_each_kind(items, None) == items


def test_a_package_brings_a_set_and_a_wrong_one_is_named(monkeypatch):
    found = [EntryPoint("doubles", "x:Doubles", registry.ENTRY_POINT_GROUP)]
    monkeypatch.setattr("spelling_transfer.tasks.registry.entry_points", lambda group: found)
    monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[self.value.rpartition(":")[2]])
    monkeypatch.setattr(registry, "load_sets", registry.load_sets.__wrapped__)
    assert list(registry.load_sets()) == ["doubles"]
    with pytest.raises(BenchError, match=r"There is no public benchmark 'cute'.*doubles"):
        registry.choose_set("cute")
    for name, target, message in [
        ("other", "Doubles", "must be equal"),
        ("x", "item", "not a public benchmark"),
        ("x", "y", "KeyError"),
    ]:
        found[:] = [EntryPoint(name, f"x:{target}", registry.ENTRY_POINT_GROUP)]
        with pytest.raises(BenchError, match=message):
            registry.load_sets()


def test_this_package_registers_its_sets():
    assert set(load_sets()) >= {"cute", "tase_count", "charbench", "lmentry", "strawberrybench", "rg_spell_backward"}
