from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.models.load import LoadedModel
from spelling_transfer.models.loss import IGNORED_LABEL, loss_at
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.training.data import EncodedExamples, StepSampler, TrainingDataError


def test_labels_are_the_answer_and_the_end_token_alone(
    loaded: LoadedModel, examples: EncodedExamples, tokenizer: ChatTokenizer, encoded: pd.DataFrame
) -> None:
    batch = examples.batch(range(len(encoded)))
    width = batch.input_ids.shape[1]
    for i, word in enumerate(encoded["example_id"]):
        mine = batch.places // width == i
        ids = loaded.vocabulary.to_ids(batch.targets[mine].numpy()).tolist()
        assert ids[-1] == tokenizer.end_id
        assert tokenizer.decode(ids[:-1]) == " ".join(word)
        row = loaded.vocabulary.to_ids(batch.input_ids[i].numpy()).tolist()
        assert row[: len(encoded["input_ids"][i])] == encoded["input_ids"][i]
        # A label is predicted by the state before it.
        assert [row[int(place) % width + 1] for place in batch.places[mine]] == ids


def test_what_fills_a_batch_up_counts_for_nothing(loaded: LoadedModel, examples: EncodedExamples) -> None:
    plain, filled = examples.batch([3, 1]), examples.batch([3, 1], rows=4, width=64, labels=128)
    assert filled.input_ids.shape == (4, 64)
    assert filled.places.shape == filled.targets.shape == (128,)
    assert int((filled.targets != IGNORED_LABEL).sum()) == len(plain.targets)
    losses = [
        float(loss_at(loaded.model, batch.input_ids, batch.places, batch.targets).detach()) for batch in (plain, filled)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_an_example_whose_answer_needs_another_token_is_found(
    loaded: LoadedModel, examples: EncodedExamples, encoded: pd.DataFrame
) -> None:
    rows = examples.batch(range(len(examples))).targets.unique().numpy()
    assert examples.labelled_outside(rows).tolist() == []
    first = loaded.vocabulary.to_rows([encoded["input_ids"][0][encoded["label_start"][0]]])[0]
    needs = [
        i
        for i, (ids, start) in enumerate(zip(encoded["input_ids"], encoded["label_start"], strict=True))
        if first in loaded.vocabulary.to_rows(ids[start:])
    ]
    assert 0 in needs
    assert examples.labelled_outside(rows[rows != first]).tolist() == needs


def test_examples_that_cannot_be_trained_on_are_refused(
    loaded: LoadedModel, tokenizer: ChatTokenizer, encoded: pd.DataFrame
) -> None:
    with pytest.raises(TrainingDataError, match="No examples"):
        EncodedExamples(encoded.head(0), loaded.vocabulary, tokenizer.end_id)
    without_end = encoded.assign(input_ids=[ids[:-1] for ids in encoded["input_ids"]])
    with pytest.raises(TrainingDataError, match=r"10 examples.*first: cab"):
        EncodedExamples(without_end, loaded.vocabulary, tokenizer.end_id)
    empty_span = encoded.assign(label_start=[len(ids) for ids in encoded["input_ids"]])
    with pytest.raises(TrainingDataError, match="empty"):
        EncodedExamples(empty_span, loaded.vocabulary, tokenizer.end_id)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=200),
    st.integers(1, 40),
    st.integers(0, 5),
)
def test_an_epoch_holds_each_example_once_in_an_order_of_the_seed(
    lengths: list[int], step_size: int, seed: int
) -> None:
    def first_epoch() -> list[list[int]]:
        steps, seen = [], 0
        for step in StepSampler(np.array(lengths), step_size, seed):
            steps.append(step)
            seen += len(step)
            if seen >= len(lengths):
                return steps
        raise AssertionError

    steps = first_epoch()
    assert sorted(i for step in steps for i in step) == list(range(len(lengths)))
    assert max(map(len, steps)) <= step_size
    assert steps == first_epoch()
