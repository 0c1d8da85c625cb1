import pandas as pd
import pytest

from spelling_transfer.study.correctness import base_correctness
from spelling_transfer.study.interfaces import StudyError


def test_a_question_of_which_nothing_is_known_is_not_wrong() -> None:
    marks = pd.DataFrame({"number": [0, 0, 1, 1], "example_id": ["a", "b"] * 2, "base": [True, False] * 2})
    assert base_correctness(marks, pd.DataFrame({"example_id": ["b", "a"]})) == [False, True]
    with pytest.raises(StudyError, match="of 1 of 3 validation questions"):
        base_correctness(marks, pd.DataFrame({"example_id": ["a", "b", "c"]}))
    with pytest.raises(StudyError, match="of 2 of 2"):
        base_correctness(marks.iloc[:0], pd.DataFrame({"example_id": ["a", "b"]}))
