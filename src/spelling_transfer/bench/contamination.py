"""Contamination: which questions are about words, or families of words, that a model of this project trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from spelling_transfer.words.families import find_families
from spelling_transfer.words.word_list import dictionary_words

TRAINED_SPLITS = ("train", "pretrain")
"""Splits whose words an adapter, or the embedded base model before it, was trained on."""


def exposure(texts: Sequence[str], words: pd.DataFrame) -> pd.DataFrame:
    """Returns how far training knows each text, and the family that its questions share.

    Families are found among the set's words and all training words together, so "sprinting" is of the family of a
    trained "sprint" although the word list has only one of them.

    Args:
        texts: The word or words of each question.
        words: The words frame, with ``word`` and ``split``.

    Returns:
        One row a text: ``seen`` (``word``: a word of it was trained on, ``family``: only a relative was, empty:
        neither) and ``family`` (the stem of a single word, the text itself where there are several).
    """
    pieces = {text: re.findall(r"[^\W\d_]+", text.lower()) for text in texts}
    trained = set(words.loc[words["split"].isin(TRAINED_SPLITS), "word"])
    stems = find_families(
        sorted({*trained, *(piece for found in pieces.values() for piece in found)}), dictionary_words()
    )
    trained_stems = {stems[word] for word in trained}

    def seen(found: list[str]) -> str:
        if trained & set(found):
            return "word"
        return "family" if any(stems[piece] in trained_stems for piece in found) else ""

    return pd.DataFrame(
        {
            "seen": [seen(pieces[text]) for text in texts],
            "family": [stems[pieces[text][0]] if len(pieces[text]) == 1 else text.lower() for text in texts],
        }
    )
