"""The schemas accept what preparation makes and refuse what it must not make."""

import numpy as np
import pandera.errors
import pytest

from spelling_transfer.tasks.encoding import encode_examples
from spelling_transfer.tasks.schemas import ENCODED_EXAMPLES, EXAMPLES, WORDS


def test_what_is_made_is_accepted_and_comes_back_from_disk_as_it_was(words, examples, tokenizer, tmp_path):
    import pandas as pd

    encoded = encode_examples(examples, tokenizer)
    for schema, frame in ((WORDS, words), (EXAMPLES, examples), (ENCODED_EXAMPLES, encoded)):
        schema.validate(frame)
        frame.to_parquet(tmp_path / "frame.parquet")
        schema.validate(pd.read_parquet(tmp_path / "frame.parquet"))


def broken(frame, column, value):
    frame = frame.head(40).copy()
    frame[column] = frame[column].astype(object)
    frame.iloc[3, list(frame.columns).index(column)] = value
    return frame.infer_objects()


def test_a_family_in_two_splits_is_refused(words):
    stem = words["stem"].value_counts().index[0]
    frame = words.copy()
    frame.loc[frame[frame["stem"] == stem].index[0], "split"] = (
        "validation" if split_is(words, stem, "test") else "test"
    )
    with pytest.raises(pandera.errors.SchemaError, match="a word family is in two splits"):
        WORDS.validate(frame)


def split_is(words, stem, split):
    return (words.loc[words["stem"] == stem, "split"] == split).all()


@pytest.mark.parametrize(
    ("column", "value"),
    [("word", "Straw"), ("kind", "other"), ("answer", ""), ("example_id", "spelling-train-the-plain")],
)
def test_wrong_examples_are_refused(examples, column, value):
    with pytest.raises(pandera.errors.SchemaError):
        EXAMPLES.validate(broken(examples, column, value))


def test_a_label_outside_the_text_is_refused(examples, tokenizer):
    encoded = encode_examples(examples.head(40), tokenizer)
    encoded["label_start"] = np.int32(500)
    with pytest.raises(pandera.errors.SchemaError, match="label_start must lie inside input_ids"):
        ENCODED_EXAMPLES.validate(encoded)


def test_a_held_out_wording_in_training_is_refused(examples):
    with pytest.raises(pandera.errors.SchemaError, match="held-out wording"):
        EXAMPLES.validate(examples.assign(template_held_out=True))
