import pandas as pd

from spelling_transfer.pages.tables import Table, table_view


def test_a_format_applies_to_its_column_and_not_to_missing_values() -> None:
    view = table_view(Table(pd.DataFrame({"share": [0.25, None], "n": [2000, 3]}), formats={"share": ".1%"}))
    assert [[cell.text for cell in row] for row in view["rows"]] == [["25.0%", "2,000"], ["–", "3"]]


def test_numbers_sort_by_value_and_texts_by_text() -> None:
    view = table_view(pd.DataFrame({"n": [2000, 30], "text": ["b", None], "flag": [True, False]}))
    assert [column["numeric"] for column in view["columns"]] == [True, False, False]
    assert [[cell.sort_key for cell in row] for row in view["rows"]] == [["2000.0", "b", "1.0"], ["30.0", "", "0.0"]]


def test_columns_are_labelled() -> None:
    view = table_view(Table(pd.DataFrame({"exact_match": [1], "p": [2]}), labels={"p": "p value"}))
    assert [column["label"] for column in view["columns"]] == ["exact match", "p value"]


def test_two_columns_may_share_a_name() -> None:
    view = table_view(pd.DataFrame([[1, "a"]], columns=["x", "x"]))
    assert [cell.text for cell in view["rows"][0]] == ["1", "a"]
