"""Examples: kinds, splits, wordings; control data; letters and places of tokens."""

from __future__ import annotations

import pandas as pd
import pytest
from pydantic import ValidationError

from spelling_transfer.tasks.examples import COLUMNS, ExampleMix, ExamplesError, write_examples
from spelling_transfer.tasks.mixture import MixtureError
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks
from spelling_transfer.words.word_sets import TOKEN_HELD_OUT, tokens_in

from .conftest import MIX


def test_ids_are_unique_and_columns_as_promised(examples):
    assert examples["example_id"].is_unique
    assert list(examples.columns) == COLUMNS


def test_every_answer_is_marked_right(examples):
    tasks = load_tasks()
    for row in examples[examples["kind"].isin(["real", "pool"])].itertuples():
        assert tasks[row.task].mark(row, row.answer).exact
        assert row.answer == tasks[row.task].gold(row.word, row.argument, row.separator)


def test_a_held_out_wording_is_asked_in_the_test_alone(examples):
    held_out = examples[examples["template_held_out"]]
    assert set(held_out["split"]) == {"test", "train"}
    assert set(held_out.loc[held_out["split"] == "train", "kind"]) == {"asked"}
    test = examples[(examples["split"] == "test") & (examples["task"] == "spelling") & (examples["word_set"] == "word")]
    sizes = test["template"].value_counts()
    assert len(sizes) == 11
    assert sizes.max() - sizes.min() <= 1


def test_questions_are_independent_one_a_family_and_task(examples):
    asked = examples[examples["split"].isin(["validation", "test"])]
    assert not asked.duplicated(["split", "task", "stem", "word_set"]).any()
    assert set(asked["kind"]) == {"real"}
    assert set(asked.loc[asked["split"] == "test", "task"]) == set(load_tasks())
    assert set(asked.loc[asked["split"] == "validation", "task"]) == set(CORE_TASKS)


def test_training_words_are_those_of_the_training_split(examples, words):
    split_of = dict(zip(words["word"], words["split"], strict=True))
    trained = examples[(examples["split"] == "train") & (examples["kind"] != "token_letters")]
    assert set(trained["word"].map(split_of)) == {"train"}
    assert set(examples.loc[examples["split"] == "pretrain", "kind"]) == {"rehearsal"}


def test_the_default_mixture_is_what_the_settings_say(examples):
    real = examples[(examples["split"] == "train") & (examples["kind"] == "real")]
    assert (real["task"] == "spelling").mean() == pytest.approx(MIX.spelling_data_ratio, abs=1e-4)
    assert real.loc[real["task"] == "spelling", "augmented"].all()


def test_variants_are_switched_on_and_off(words, tokenizer):
    few = words[words["length"] < 6]

    def spelling(**change: object) -> pd.DataFrame:
        mix = ExampleMix(spelling_difficulty="all", spelling_data_ratio=1.0, other_arms=False, **change)
        frame = write_examples(few, tokenizer, mix, load_tasks())
        return frame[(frame["kind"] == "real") & (frame["split"] == "train")]

    every = spelling()
    assert set(every["separator"]) == {" ", ",", "-", ""}
    assert every["template"].nunique() == 8
    shown = [row.word.upper() in row.question or row.word.capitalize() in row.question for row in every.itertuples()]
    assert 0.4 < sum(shown) / len(shown) < 0.6
    calm = spelling(separators=["space"], case_variants=False)
    assert set(calm["separator"]) == {" "}
    assert all(row.word in row.question for row in calm.itertuples())
    plain = spelling(spelling_augmentation=False)
    assert set(plain["template"]) == {"spelling/00"}
    assert len(plain) == plain["word"].nunique() == every["word"].nunique()


def test_no_capitalised_training_word_has_a_token_that_is_held_out(words, tokenizer, examples):
    held_out = tokens_in(words[words["word_set"] == TOKEN_HELD_OUT])
    assert held_out
    trained = examples[(examples["split"] == "train") & examples["kind"].isin(["real", "pool"])]
    forms = {
        form
        for row in trained.itertuples()
        for form in (row.word, row.word.capitalize(), row.word.upper())
        if form in row.question
    }
    assert any(form.isupper() for form in forms)
    for text in (*forms, *(f" {form}" for form in forms)):
        assert held_out.isdisjoint(tokenizer.encode_texts([text])[0]), text


def test_examples_do_not_depend_on_the_order_of_words(words, tokenizer, examples):
    mixed = write_examples(words.sample(frac=1, random_state=1), tokenizer, MIX, load_tasks())
    spelling = ["example_id", "question", "answer", "kind"]
    first, second = (
        frame.loc[frame["task"] == "spelling", spelling].sort_values("example_id").reset_index(drop=True)
        for frame in (examples, mixed)
    )
    real = first["kind"] != "wrong_letters"
    pd.testing.assert_frame_equal(first[real], second[real])


def test_another_seed_gives_other_examples(words, tokenizer, examples):
    other = write_examples(words, tokenizer, MIX.model_copy(update={"seed": 1}), load_tasks())
    changed = other.set_index("example_id")["question"].reindex(examples["example_id"]).to_numpy()
    variants = examples["augmented"].to_numpy()
    assert (changed[variants] != examples.loc[variants, "question"].to_numpy()).mean() > 0.5


@pytest.mark.parametrize(
    "change", [{"separators": ["dot"]}, {"separators": []}, {"spelling_data_ratio": 1.5}, {"spelling_difficulty": "x"}]
)
def test_settings_out_of_bounds_are_refused(change):
    with pytest.raises(ValidationError):
        ExampleMix(**change)


def test_a_list_too_short_for_the_splits_is_an_error(words, tokenizer):
    with pytest.raises(ExamplesError, match="no word family falls into the split 'test'"):
        write_examples(words[words["split"] != "test"], tokenizer, MIX, load_tasks())
    with pytest.raises(MixtureError, match="direct_per_word"):
        write_examples(words, tokenizer, MIX.model_copy(update={"direct_per_word": 0}), load_tasks())


def test_a_task_that_is_trained_joins_the_mixture(words, tokenizer):
    tasks = dict(load_tasks())
    tasks["length"] = type("Trained", (type(tasks["length"]),), {"trained_by_default": True})()
    frame = write_examples(words, tokenizer, MIX, tasks)
    real = frame[(frame["kind"] == "real") & (frame["split"] == "train")]
    assert set(real["task"]) == {"spelling", "position", "count", "length"}
    assert (real["task"] == "spelling").mean() == pytest.approx(0.7, abs=1e-4)


def test_of_some_training_families_spelling_alone_is_trained(examples, words):
    asked = examples[examples["kind"] == "asked"]
    assert set(asked["task"]) == set(CORE_TASKS)
    assert not asked.duplicated(["task", "stem"]).any()
    trained = examples[(examples["split"] == "train") & examples["kind"].isin(["real", "pool"])]
    of_task = {task: set(rows["stem"]) for task, rows in trained.groupby("task")}
    families = set(asked["stem"])
    assert families <= of_task["spelling"]
    assert not families & (of_task["position"] | of_task["count"])
    share = len(families) / words.loc[words["split"] == "train", "stem"].nunique()
    assert share == pytest.approx(MIX.spelled_only_share, abs=0.05)


def test_without_a_share_every_training_family_is_trained_on_all_tasks(words, tokenizer):
    few = words[words["length"] < 6]
    every = write_examples(few, tokenizer, MIX.model_copy(update={"spelled_only_share": 0.0}), load_tasks())
    assert not (every["kind"] == "asked").any()
    trained = every[(every["split"] == "train") & every["kind"].isin(["real", "pool"])]
    assert trained.groupby("task")["stem"].nunique().nunique() == 1
