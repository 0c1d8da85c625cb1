"""Sums of marks beyond the share of right answers: spelling by place, count by error and by true count."""

from __future__ import annotations

import pandas as pd


def accuracy_by_position(marked: pd.DataFrame) -> pd.DataFrame:
    """Returns, for each place of a word, the share of spellings that have the right letter there.

    A letter that was left out or put in shifts those after it, which then count as wrong: that is what a reader of
    the spelling would see. Where nothing could be read every letter is wrong.

    Args:
        marked: Spelling answers with ``answer``, ``separator`` and ``read``.

    Returns:
        ``position`` (from 1), ``accuracy`` and ``words`` (how many are that long).
    """
    right: dict[int, int] = {}
    words: dict[int, int] = {}
    for answer, separator, read in zip(marked["answer"], marked["separator"], marked["read"], strict=True):
        wanted, said = ((text.split(separator) if separator else list(text)) for text in (answer, read))
        for place, letter in enumerate(wanted):
            words[place] = words.get(place, 0) + 1
            right[place] = right.get(place, 0) + (place < len(said) and said[place] == letter)
    places = sorted(words)
    return pd.DataFrame(
        {
            "position": [place + 1 for place in places],
            "accuracy": [right[place] / words[place] for place in places],
            "words": [words[place] for place in places],
        }
    )


def accuracy_by_true_count(marked: pd.DataFrame) -> pd.DataFrame:
    """Returns, for each right count, the share of right answers and the mean absolute error.

    Args:
        marked: Count answers with ``answer``, ``exact``, ``lenient``, ``invalid`` and ``absolute_error``.

    Returns:
        ``count``, ``exact``, ``lenient``, ``invalid`` (shares), ``mean_absolute_error`` (over answers that could be
        read) and ``questions``.
    """
    groups = marked.assign(count=marked["answer"].astype(int)).groupby("count")
    return pd.DataFrame(
        {
            "exact": groups["exact"].mean(),
            "lenient": groups["lenient"].mean(),
            "invalid": groups["invalid"].mean(),
            "mean_absolute_error": groups["absolute_error"].mean(),
            "questions": groups.size(),
        }
    ).reset_index()
