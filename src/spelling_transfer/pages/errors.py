"""What a page says of wrong answers."""

from __future__ import annotations

import pandas as pd

from spelling_transfer.evaluation.errors import KINDS, error_examples, letter_confusions
from spelling_transfer.evaluation.marking import of_first_seed
from spelling_transfer.pages.names import arm_name
from spelling_transfer.pages.page import Section, continued
from spelling_transfer.pages.tables import Table

_ABOUT_SOME = ("at a token border", "inside a token")
_ORDER = [*KINDS, *_ABOUT_SOME, "too short", "too long"]
_MOST_CONFUSED = 40
_MOST_QUESTIONS = 500


def error_sections(described: pd.DataFrame, errors: pd.DataFrame, side_by_side: pd.DataFrame) -> list[Section]:
    """Returns the sections; none where nothing is wrong.

    Args:
        described: The table of ``evaluation.errors.describe_errors``.
        errors: That of ``error_table``.
        side_by_side: That of the same name.
    """
    if errors.empty:
        return []
    # An arm of three seeds would have thrice the letters, and each example three times.
    first, described = of_first_seed(errors), of_first_seed(described)
    wide = first.pivot(index=["task", "kind"], columns="arm", values="share").fillna(0.0)[first["arm"].unique()]
    wide = wide.reset_index().sort_values(["task", "kind"], key=_place, kind="stable")
    # One wrong answer of two questions is no half of an arm's answers.
    there = first[first["kind"].isin(_ABOUT_SOME)]
    asked = (there["n"] / there["share"]).round().groupby(there["kind"]).max()
    wide["kind"] = [f"{kind} (of {asked[kind]:.0f})" if kind in asked else kind for kind in wide["kind"]]
    formats = dict.fromkeys(wide.columns[2:], ".1%")
    caption = (
        "Share of all answers to a task. At a token border and inside a token: share of the given number of questions "
        "about a letter there. Too short and too long: spellings by their number of letters."
    )
    confused = letter_confusions(described)
    confused = confused.pivot_table(index=["task", "expected", "given"], columns="arm", values="n", fill_value=0)
    confused = confused.loc[confused.sum(axis=1).sort_values(ascending=False, kind="stable").index].astype(int)
    labels = {str(arm): arm_name(str(arm)) for arm in first["arm"].unique()}
    columns = ["arm", "task", "kind", "question", "tokens", "answer", "output"]
    return [
        Section(
            "What is wrong with wrong answers",
            text="Answers of each arm's first seed.",
            table=Table(wide, caption=caption, formats=formats, labels=labels),
        ),
        continued(
            confused.reset_index().head(_MOST_CONFUSED),
            "Letters confused with others, most frequent first.",
            labels=labels,
        ),
        continued(
            error_examples(described)[columns].replace({"arm": labels}),
            "Three of each kind, chosen by the hash of their identifiers.",
            max_rows=_MOST_QUESTIONS,
        ),
        Section(
            "Answers side by side",
            table=Table(
                side_by_side.assign(right=side_by_side["right"].map(_named)),
                caption="All of them are in side_by_side.csv. Right: the arms whose answer is.",
                labels=labels,
                max_rows=_MOST_QUESTIONS,
            ),
        ),
    ]


def _named(arms: str) -> str:
    return ", ".join(arm_name(arm) for arm in arms.split(", ") if arm)


def _place(column: pd.Series) -> pd.Series:
    return column.map({kind: place for place, kind in enumerate(_ORDER)}) if column.name == "kind" else column
