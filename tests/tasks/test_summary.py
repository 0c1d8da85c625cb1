"""Sums of marks."""

import pandas as pd
import pytest

from spelling_transfer.tasks.summary import accuracy_by_position, accuracy_by_true_count


def test_spelling_by_place():
    marked = pd.DataFrame(
        {
            "answer": ["c a t", "d-o-g-s", "cow"],
            "separator": [" ", "-", ""],
            "read": ["c a d", "d-g-s", ""],
        }
    )
    table = accuracy_by_position(marked)
    assert table["position"].tolist() == [1, 2, 3, 4]
    assert table["words"].tolist() == [3, 3, 3, 1]
    assert table["accuracy"].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])


def test_count_by_true_count():
    marked = pd.DataFrame(
        {
            "answer": ["0", "0", "2", "2"],
            "exact": [True, False, False, False],
            "lenient": [True, True, False, False],
            "invalid": [False, False, False, True],
            "absolute_error": [0.0, 0.0, 1.0, None],
        }
    )
    table = accuracy_by_true_count(marked)
    assert table["count"].tolist() == [0, 2]
    assert table["exact"].tolist() == [0.5, 0.0]
    assert table["mean_absolute_error"].tolist() == [0.0, 1.0]
    assert table["questions"].tolist() == [2, 2]
