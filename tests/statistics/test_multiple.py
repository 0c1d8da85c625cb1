from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from spelling_transfer.statistics.multiple import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04]).tolist() == [0.02, 0.04]
    assert holm([0.04, 0.03]).tolist() == [0.06, 0.06]
    # 3 · 0.01, 2 · 0.02, and 1 · 0.03, which may not be below the one before.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]).tolist() == []


@given(P_VALUES)
def test_benjamini_and_hochberg_agree_with_scipy(p_values: list[float]) -> None:
    assert benjamini_hochberg(p_values) == pytest.approx(false_discovery_control(p_values, method="bh"))


@given(P_VALUES)
def test_holm_is_between_no_adjustment_and_bonferronis(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= np.minimum(np.array(p_values) * len(p_values), 1)).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize("strange", [float("nan"), -0.1, 5.0])
def test_what_is_no_p_value_is_refused(adjust: Callable[..., object], strange: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        adjust([0.01, 0.04, strange])


def test_nothing_to_adjust() -> None:
    assert benjamini_hochberg([]).tolist() == []
