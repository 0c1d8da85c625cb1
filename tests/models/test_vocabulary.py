from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spelling_transfer.errors import SpellingTransferError
from spelling_transfer.models.vocabulary import TOKEN_IDS_FILE, UnknownTokenError, Vocabulary


@given(st.sets(st.integers(0, 151_935), min_size=1, max_size=60), st.data())
def test_rows_and_ids_are_inverse(ids: set[int], data: st.DataObject) -> None:
    vocabulary = Vocabulary(np.array(sorted(ids)), len(ids))
    some = data.draw(st.lists(st.sampled_from(sorted(ids)), min_size=1))
    rows = vocabulary.to_rows(some)
    assert rows.max() < len(ids)
    assert vocabulary.to_ids(rows).tolist() == some


def test_an_id_without_a_row_is_named() -> None:
    vocabulary = Vocabulary(np.array([3, 7, 9]), 3)
    with pytest.raises(UnknownTokenError, match="8"):
        vocabulary.to_rows([3, 8])
    with pytest.raises(UnknownTokenError):
        vocabulary.to_rows([-1])
    assert vocabulary.known_rows([9, 8, 3, 100_000]).tolist() == [2, 0]


def test_a_full_model_has_its_own_ids() -> None:
    vocabulary = Vocabulary(None, 10)
    assert vocabulary.to_rows([0, 9]).tolist() == [0, 9]
    assert vocabulary.known_rows([9, 10]).tolist() == [9]
    with pytest.raises(UnknownTokenError):
        vocabulary.to_rows([10])


def test_a_map_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / TOKEN_IDS_FILE).write_text(json.dumps([1, 2, 3]))
    assert Vocabulary.of_folder(tmp_path, 3).to_rows([2]).tolist() == [1]
    with pytest.raises(SpellingTransferError, match="3 ids for 4 rows"):
        Vocabulary.of_folder(tmp_path, 4)
    with pytest.raises(SpellingTransferError, match="ascending"):
        Vocabulary(np.array([2, 1]), 2)
