"""Examples: kinds, splits, wordings; control data; letters and places of tokens."""

from __future__ import annotations

import pandas as pd
import pytest
from pydantic import ValidationError

from spelling_transfer.tasks.examples import (
    COLUMNS,
    ControlError,
    ExampleMix,
    ExamplesError,
    control_answers,
    letters_with_places,
    tokens_of,
    write_examples,
)
from spelling_transfer.tasks.mixture import MixtureError
from spelling_transfer.tasks.registry import CORE_TASKS, load_tasks

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
    assert set(examples.loc[examples["template_held_out"], "split"]) == {"test"}
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
    assert not (examples["split"] == "pretrain").any()


def test_the_default_mixture_is_what_the_settings_say(examples):
    real = examples[(examples["split"] == "train") & (examples["kind"] == "real")]
    assert (real["task"] == "spelling").mean() == pytest.approx(MIX.spelling_data_ratio, abs=1e-4)
    assert real.loc[real["task"] == "spelling", "augmented"].all()


def test_variants_are_switched_on_and_off(words, tokenizer):
    few = words[words["length"] < 6]

    def spelling(**change: object) -> pd.DataFrame:
        mix = ExampleMix(spelling_difficulty="all", spelling_data_ratio=1.0, token_letters=False, **change)
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


def test_examples_do_not_depend_on_the_order_of_words(words, tokenizer, examples):
    mixed = write_examples(words.sample(frac=1, random_state=1), tokenizer, MIX, load_tasks())
    spelling = ["example_id", "question", "answer", "kind"]
    first, second = (
        frame.loc[frame["task"] == "spelling", spelling].sort_values("example_id").reset_index(drop=True)
        for frame in (examples, mixed)
    )
    real = first["kind"] != "control"
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


def test_control_differs_from_the_real_data_in_the_answer_alone(examples):
    control = examples[examples["kind"] == "control"]
    real = examples[(examples["kind"] == "real") & (examples["split"] == "train") & (examples["task"] == "spelling")]
    assert len(control) == len(real)
    assert list(control["question"]) == list(real["question"])
    assert (control["answer"].to_numpy() != real["answer"].to_numpy()).all()
    lengths = control["answer"].str.count("[a-z]").to_numpy()
    assert (lengths == control["word"].str.len()).mean() > 0.99
    assert list(control["separator"]) == list(real["separator"])


def test_every_word_is_said_as_often_as_in_the_real_data(examples):
    control = examples[(examples["kind"] == "control")]
    said = control["answer"].str.replace("[^a-z]", "", regex=True)
    # Words whose neighbour is of their own family, or that are alone in their length, borrow another's answer.
    assert (said.value_counts().reindex(control["word"].unique()).fillna(0) == 2).mean() > 0.98


def test_no_word_gets_an_answer_from_its_own_family(examples, words):
    stem_of = dict(zip(words["word"], words["stem"], strict=True))
    control = examples[examples["kind"] == "control"]
    said = control["answer"].str.replace("[^a-z]", "", regex=True).map(stem_of)
    assert (said != control["stem"]).all()


def test_one_family_alone_is_an_error():
    rows = pd.DataFrame({"word": ["walk", "walks"], "stem": "walk", "separator": " "})
    with pytest.raises(ControlError, match="all 2 training words are of the family 'walk'"):
        control_answers(rows, 0)


def test_letters_carry_their_places():
    assert letters_with_places("cat") == "c1 a2 t3"


def test_tokens_are_shown_as_they_are_in_words(words, tokenizer, examples):
    rows = examples[examples["kind"] == "token_letters"]
    trained = words[words["split"] == "train"]
    tokens = tokens_of([*trained["ids_bare"], *trained["ids_spaced"]], tokenizer)
    assert len(rows) == len(tokens) > 2000
    for (token, letters, spaced), row in list(zip(tokens, rows.itertuples(), strict=True))[::50]:
        assert row.answer == letters_with_places(letters)
        assert row.question.startswith(letters) != spaced
        (ids,) = tokenizer.encode_texts([row.question])
        assert token in ids


def test_tokens_of_held_out_words_stay_unseen(words, tokenizer, examples):
    trained = words[words["split"] == "train"]
    tokens = {token for token, _, _ in tokens_of([*trained["ids_bare"], *trained["ids_spaced"]], tokenizer)}
    held_out = words[words["word_set"] == "token_held_out"]
    assert not tokens & {token for column in ("ids_bare", "ids_spaced") for ids in held_out[column] for token in ids}
