"""What the tables of local preparation must look like; checked whenever they are saved or loaded."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandera.pandas import Check, Column, DataFrameSchema

from spelling_transfer.tasks.mixture import ASKED, INDEXED, POOL, REAL, REHEARSAL, TOKEN_LETTERS, WRONG_LETTERS
from spelling_transfer.words.difficulty import LEVELS
from spelling_transfer.words.word_sets import WORD_SETS

SPLITS = ("train", "validation", "test", "pretrain")
KINDS = (REAL, POOL, ASKED, WRONG_LETTERS, INDEXED, TOKEN_LETTERS, REHEARSAL)


def _are_id_lists(column: pd.Series) -> bool:
    return all(isinstance(ids, np.ndarray) and ids.dtype == np.int32 and len(ids) > 0 for ids in column)


def _labels_are_inside(frame: pd.DataFrame) -> bool:
    lengths = frame["input_ids"].map(len)
    return bool(((frame["label_start"] > 0) & (frame["label_start"] < lengths)).all())


def _one_split_a_family(frame: pd.DataFrame) -> bool:
    return bool((frame.groupby("stem")["split"].nunique() == 1).all())


_ID_LISTS = Check(_are_id_lists, error="must be non-empty int32 arrays of token ids")

WORDS = DataFrameSchema(
    {
        "word": Column(str, Check.str_matches("^[a-z]+$"), unique=True),
        "stem": Column(str),
        "zipf_frequency": Column(float, Check.in_range(0, 10)),
        "length": Column("int32", Check.ge(2)),
        "ids_bare": Column(object, _ID_LISTS),
        "ids_spaced": Column(object, _ID_LISTS),
        "n_tokens_bare": Column("int32", Check.ge(1)),
        "n_tokens_spaced": Column("int32", Check.ge(1)),
        "repeated_letters": Column(bool),
        "word_set": Column(str, Check.isin(WORD_SETS)),
        "split": Column(str, Check.isin(SPLITS)),
        "difficulty": Column(str, Check.isin(LEVELS)),
        "difficulty_score": Column(float),
    },
    checks=Check(_one_split_a_family, error="a word family is in two splits"),
    strict=True,
    name="words",
)

_OF_EXAMPLE = {
    "example_id": Column(str, unique=True),
    "task": Column(str),
    "kind": Column(str, Check.isin(KINDS)),
    "augmented": Column(bool),
    "template_held_out": Column(bool),
    "word": Column(str, Check.str_matches("^[a-z]+$")),
    "stem": Column(str),
    "word_set": Column(str, Check.isin(WORD_SETS)),
    "split": Column(str, Check.isin(SPLITS)),
    "difficulty": Column(str, Check.isin(LEVELS)),
}


def _training_wordings_are_not_held_out(frame: pd.DataFrame) -> bool:
    return not (frame["template_held_out"] & (frame["split"] == "train") & (frame["kind"] != ASKED)).any()


_HELD_OUT = Check(_training_wordings_are_not_held_out, error="a held-out wording is in the training split")

EXAMPLES = DataFrameSchema(
    {
        **_OF_EXAMPLE,
        "template": Column(str),
        "question": Column(str, Check.str_length(min_value=1)),
        "answer": Column(str, Check.str_length(min_value=1)),
        "argument": Column(str),
        "separator": Column(str),
    },
    checks=_HELD_OUT,
    strict=True,
    name="examples",
)

ENCODED_EXAMPLES = DataFrameSchema(
    {
        **_OF_EXAMPLE,
        "input_ids": Column(object, _ID_LISTS),
        "label_start": Column("int32"),
    },
    checks=[Check(_labels_are_inside, error="label_start must lie inside input_ids"), _HELD_OUT],
    strict=True,
    name="encoded_examples",
)
