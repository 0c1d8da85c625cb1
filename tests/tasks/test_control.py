"""Control data: the same prompts, no knowledge."""

import pandas as pd
import pytest

from spelling_transfer.tasks.control import ControlError, control_answers


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
