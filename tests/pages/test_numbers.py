import numpy as np
import pandas as pd
import pytest

from spelling_transfer.pages.numbers import (
    POINTS,
    count_of,
    duration,
    format_value,
    level,
    listed,
    percent,
    points,
    signed,
    span,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (pd.NA, "–"),
        (True, "yes"),
        (np.bool_(False), "no"),
        (1234567, "1,234,567"),
        (np.int64(-3), "−3"),
        (0.12345, "0.123"),
        (0.0, "0.000"),
        (1e-5, "1.00e−05"),
        (12345.678, "12,345.7"),
        (float("inf"), "inf"),
        ("text", "text"),
        (np.array([1, 2]), "1, 2"),
        (["a", None], "a, –"),
    ],
)
def test_values_are_written_for_readers(value: object, expected: str) -> None:
    assert format_value(value) == expected


def test_a_level_is_written_as_it_was_set() -> None:
    assert [level(each) for each in (0.95, 0.975, 1 - 0.95, (1 - 0.95) / 2)] == ["95%", "97.5%", "5%", "2.5%"]


def test_a_difference_is_written_in_points() -> None:
    assert format_value(0.6286, POINTS) == "+62.9"
    assert format_value(np.nan, POINTS) == "–"


def test_a_minus_is_a_minus_sign_in_every_form() -> None:
    assert percent(-0.0512) == "−5.1%"
    assert percent(0.5, 0) == "50%"
    assert points(-0.07) == "−7.0"
    assert signed(0.05) == "+0.050"
    assert signed(-0.0, 1) == signed(2.05 / 3 - 0.6833333333333334, 1) == "+0.0"
    assert signed(-0.04, 1) == "−0.0"  # the lower end of an interval that holds zero
    assert span(-0.11, 0.03) == "−11.0 to +3.0"
    assert span(-0.11, 0.03, signed) == "−0.110 to +0.030"
    assert span(float("nan"), float("nan")) == "no interval"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(3.21, "3.2 s"), (59.9, "59.9 s"), (95, "1 min 35 s"), (3_600, "1 h 0 min"), (7_384.6, "2 h 3 min")],
)
def test_a_time_has_two_units_at_most(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_counts_and_lists_read_as_text() -> None:
    assert [count_of(1, "trial"), count_of(3, "trial"), count_of(12, "trial")] == [
        "one trial",
        "three trials",
        "12 trials",
    ]
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
