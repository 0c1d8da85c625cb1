"""The benchmark of the evaluation runs without the peer and writes its rows; the committed ones reach the goals."""

import json
from typing import Any

import pytest

from .conftest import BENCHMARKS


@pytest.fixture(scope="module")
def committed() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((BENCHMARKS / "results" / "evaluation.json").read_text())
    return rows


def test_it_asks_marks_and_compares(rows_of) -> None:
    rows = rows_of("evaluation.py", "--quick")
    assert [row["goal"] for row in rows[:5]] == [30, None, None, None, 1]
    assert rows[-1]["ours"] > 0.9  # the English subset changes few answers


def test_the_committed_figures_reach_their_goals(committed: list[dict[str, Any]]) -> None:
    goals = [row for row in committed if row["goal"] is not None]
    assert {row["goal"] for row in goals} >= {30, 1, 5}
    for row in goals:
        if row["ratio"] is None:
            reached = row["ours"] >= row["goal"] if row["unit"] == "share" else row["ours"] <= row["goal"]
            assert reached, row


def test_the_page_shows_the_committed_figures(committed: list[dict[str, Any]]) -> None:
    from benchmark_table import markdown

    assert markdown(committed) in (BENCHMARKS.parent / "docs" / "evaluation.md").read_text()
