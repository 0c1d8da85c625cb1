from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, permutation_test

from spelling_transfer.statistics.exact import mcnemar_exact, sign_flip_exact


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_share_of_coin_sequences_at_least_as_uneven(first: int, second: int) -> None:
    m = first + second
    as_uneven = sum(comb(m, k) for k in range(m + 1) if abs(2 * k - m) >= abs(first - second))
    assert mcnemar_exact(first, second) == pytest.approx(as_uneven / 2**m)
    if m:
        assert mcnemar_exact(first, second) == pytest.approx(binomtest(first, m).pvalue)


def test_mcnemar_by_hand() -> None:
    # 1 against 5: 2 * (C(6,0) + C(6,1)) / 2^6
    assert mcnemar_exact(1, 5) == pytest.approx(14 / 64)
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(0, 4) == 0.125


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=10))
def test_sign_flips_are_all_there_are(differences: list[int]) -> None:
    values = np.array(differences)
    sums = [abs(np.dot(signs, np.abs(values))) for signs in product([1, -1], repeat=len(values))]
    assert sign_flip_exact(values) == pytest.approx(np.mean(np.array(sums) >= abs(values.sum())))


def test_sign_flips_agree_with_scipys_permutations() -> None:
    values = np.array([3, 1, -1, 2, 3, -2, 1, 1, 3, -1, 2])
    theirs = permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_exact(values) == pytest.approx(theirs.pvalue)


def test_one_question_a_family_is_mcnemars_test() -> None:
    assert sign_flip_exact([1] * 5 + [-1] + [0] * 594) == mcnemar_exact(5, 1)
    assert sign_flip_exact([3] * 5 + [-3]) == mcnemar_exact(5, 1)
    assert sign_flip_exact([0, 0]) == 1.0


def test_questions_of_a_family_do_not_count_as_so_many_coins() -> None:
    # Two families of four questions each that were all won: one coin in two, not one in 128.
    assert sign_flip_exact([4, 4]) == 0.5
    assert mcnemar_exact(8, 0) < 0.01


def test_fractions_are_refused() -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        sign_flip_exact([0.5, 1])


def test_a_p_value_is_never_zero() -> None:
    differences = np.array([3] * 100 + [1] * 60 + [2] * 15)
    assert sign_flip_exact(differences) == pytest.approx(2.0**-174, rel=1e-9)
