"""What a page says of wrong answers."""

from __future__ import annotations

import pandas as pd

from spelling_transfer.evaluation.errors import error_table, side_by_side
from spelling_transfer.pages.errors import error_sections
from spelling_transfer.pages.tables import Table


def test_arms_of_several_seeds_are_shown_with_the_answers_of_one() -> None:
    base = {
        "arm": "base", "seed": -1, "example_id": "q", "task": "position", "word": "berry", "tokens": "berry",
        "question": "about berry", "answer": "r", "output": "a", "read": "a", "exact": False,
        "kind": "letter not in the word", "at_border": False, "length_difference": None,
    }  # fmt: skip
    described = pd.DataFrame([base, *({**base, "arm": "spelling", "seed": seed} for seed in (3, 4, 5))])
    sections = error_sections(described, error_table(described), side_by_side(described))
    tables = [section.table for section in sections if isinstance(section.table, Table)]
    shares, confused, examples, _ = (table.frame for table in tables)
    assert shares["kind"].tolist() == ["letter not in the word", "inside a token (of 1)"]
    assert confused[["base", "spelling"]].to_numpy().tolist() == [[1, 1]]
    # Arms are called what they are called on all pages.
    assert examples["arm"].tolist() == ["base", "spelling arm"]
    assert all(table.labels["spelling"] == "spelling arm" for table in tables[:2])
