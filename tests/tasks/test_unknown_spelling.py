"""Words whose spelling the embedded model was never told are asked about as a set of their own, never trained on."""

from __future__ import annotations

import pandas as pd

from spelling_transfer.tasks.examples import write_examples
from spelling_transfer.tasks.registry import load_tasks
from spelling_transfer.tokenizer.chat import ChatTokenizer
from spelling_transfer.words.word_sets import UNKNOWN_SPELLING, WORD, without_lines

from .conftest import MIX


def test_words_of_unknown_spelling_are_asked_and_never_trained_on(words: pd.DataFrame, tokenizer: ChatTokenizer):
    few = words[words["word_set"] == WORD].groupby("split").head(120)
    untold = {stem for stem in few["stem"] if without_lines(stem, 0.3)}
    marked = few.assign(word_set=few["word_set"].where(~few["stem"].isin(untold), UNKNOWN_SPELLING))
    made = write_examples(marked, tokenizer, MIX, load_tasks())
    unknown = made[made["word_set"] == UNKNOWN_SPELLING]
    assert set(unknown["split"]) == {"validation", "test"}
    assert set(unknown["kind"]) == {"real"}
    trained = set(made.loc[made["split"] == "train", "stem"])
    assert trained
    assert not untold & trained
    told = write_examples(few, tokenizer, MIX, load_tasks())
    assert untold & set(told.loc[told["split"] == "train", "stem"])
