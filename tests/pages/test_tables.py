import numpy as np
import pandas as pd
import pytest

from spelling_transfer.pages.tables import Table, format_value, table_view


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


def test_a_format_applies_to_its_column_and_not_to_missing_values() -> None:
    view = table_view(Table(pd.DataFrame({"share": [0.25, None], "n": [2000, 3]}), formats={"share": ".1%"}))
    assert [[cell.text for cell in row] for row in view.rows] == [["25.0%", "2,000"], ["–", "3"]]


def test_numbers_sort_by_value_and_texts_by_text() -> None:
    view = table_view(pd.DataFrame({"n": [2000, 30], "text": ["b", None], "flag": [True, False]}))
    assert [column.numeric for column in view.columns] == [True, False, False]
    assert [[cell.sort_key for cell in row] for row in view.rows] == [["2000.0", "b", "1.0"], ["30.0", "", "0.0"]]


def test_columns_are_labelled() -> None:
    view = table_view(Table(pd.DataFrame({"exact_match": [1], "p": [2]}), labels={"p": "p value"}))
    assert [column.label for column in view.columns] == ["exact match", "p value"]


def test_long_tables_are_cut_and_say_so() -> None:
    view = table_view(Table(pd.DataFrame({"n": range(30)}), max_rows=10))
    assert (len(view.rows), view.n_rows) == (10, 30)


def test_two_columns_may_share_a_name() -> None:
    view = table_view(pd.DataFrame([[1, "a"]], columns=["x", "x"]))
    assert [cell.text for cell in view.rows[0]] == ["1", "a"]
