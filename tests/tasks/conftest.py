"""A small study to test on: the 3,000 most frequent words and everything made of them."""

from __future__ import annotations

import pandas as pd
import pytest

from spelling_transfer.tasks.examples import ExampleMix, write_examples
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.words.difficulty import rate_difficulty, structural_score
from spelling_transfer.words.word_list import WordSelection, select_words
from spelling_transfer.words.word_sets import describe_words, split_words

SELECTION = WordSelection(max_words=3000, random_words=300)
MIX = ExampleMix(spelling_difficulty="all", spelling_per_word=2, other_task_questions=60)


@pytest.fixture(scope="session")
def words(tokenizer) -> pd.DataFrame:
    described = describe_words(select_words(SELECTION).words, tokenizer)
    frame = split_words(described, tokenizer, SELECTION)
    return rate_difficulty(frame, structural_score(frame))


@pytest.fixture(scope="session")
def examples(words, tokenizer) -> pd.DataFrame:
    return write_examples(words, tokenizer, MIX, load_tasks())
