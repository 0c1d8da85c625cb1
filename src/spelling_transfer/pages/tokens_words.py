"""The part of the page that is about words in tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from spelling_transfer.pages.page import Section, Table
from spelling_transfer.pages.tokens_results import Results
from spelling_transfer.tokenizer.words import WORD_FORMS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def word_sections(results: Results, plots: Mapping[str, Figure]) -> list[Section]:
    """Returns how words are cut, by form, frequency and length."""
    forms = pd.DataFrame(results.words["forms"]).drop(columns=["tokens", "description", "single_token"])
    shares = {column: ".1%" for column in forms.columns if column.endswith("_share")}
    frequent = _all_forms(results.words["multi_token_words"])
    bands = pd.DataFrame(results.words["by_frequency"]).pivot(index="band", columns="form", values="mean_tokens")
    bands = bands.loc[list(dict.fromkeys(row["band"] for row in results.words["by_frequency"]))]
    lengths = pd.DataFrame(results.words["by_length"]).pivot(index="length", columns="form", values="mean_tokens")
    bands, lengths = (table.reindex(columns=WORD_FORMS).reset_index() for table in (bands, lengths))
    return [
        Section(
            "Words in tokens",
            text=(
                f"{results.words['words']:,} words in four forms. A space in front changes the tokens: the same word "
                f"is a single token in {results.form('spaced')['single_token_share']:.0%} of cases after a space, in "
                f"{results.form('bare')['single_token_share']:.0%} without one."
            ),
            figure=plots["tokens_per_word"],
            caption="Mean number of tokens of a word by its frequency.",
        ),
        Section(
            table=Table(
                forms,
                formats={**shares, "mean_tokens": ".3f", "median_ways": ".0f"},
                labels={
                    "splits_double_letter_share": "border in a double letter",
                    "letters_in_several_tokens_share": "a letter in several tokens",
                    "not_shortest_share": "a shorter cut exists",
                    "several_shortest_share": "several shortest cuts",
                    "median_ways": "ways to cut (median)",
                },
                caption=(
                    "Plurals are counted where they are on the list; all forms but the bare one stand after a space. "
                    "The last five columns are about words of more than one token: how borders cross their letters, "
                    "and how else they could be cut into tokens."
                ),
            )
        ),
        Section(table=Table(bands, formats=dict.fromkeys(WORD_FORMS, ".2f"), caption="Mean tokens by frequency.")),
        Section(
            table=Table(lengths, formats=dict.fromkeys(WORD_FORMS, ".2f"), caption="Mean tokens by number of letters.")
        ),
        Section(
            table=Table(
                frequent,
                formats={"zipf_frequency": ".2f"},
                labels={"zipf_frequency": "Zipf", "letters_in_several_tokens": "letters in several tokens"},
                caption="The most frequent words of more than one token, in each form.",
            )
        ),
        Section(
            table=Table(
                _all_forms(results.words["ambiguous_words"]),
                formats={"zipf_frequency": ".2f"},
                labels={
                    "zipf_frequency": "Zipf",
                    "n_tokens": "tokens",
                    "fewest_tokens": "fewest possible",
                    "shortest_ways": "ways with so few",
                    "ways": "ways in all",
                },
                caption="Frequent words that fewer tokens of the vocabulary could write than the tokenizer takes.",
            )
        ),
    ]


def _all_forms(rows_of: Mapping[str, list[dict[str, Any]]]) -> pd.DataFrame:
    return pd.DataFrame([{"form": form, **row} for form, rows in rows_of.items() for row in rows])


def context_sections(results: Results) -> list[Section]:
    """Returns what the text around a word changes."""
    columns = ["spaced_share", "bare_share", "other_share", "glued_share"]
    labels = {
        "spaced_share": "as after a space",
        "bare_share": "as alone",
        "other_share": "otherwise",
        "glued_share": "joined to what stands in front",
    }
    sections = [
        Section(
            "The text around a word",
            text="What stands directly in front of a word decides how it is cut; what follows it does not.",
            table=Table(
                pd.DataFrame(results.words["contexts"]),
                formats=dict.fromkeys(columns, ".1%"),
                labels=labels,
                caption="Words put into texts: share that is cut as after a space, as alone, or in another way.",
            ),
        )
    ]
    if results.words["templates"]:
        sections.append(
            Section(
                table=Table(
                    pd.DataFrame(results.words["templates"]),
                    formats=dict.fromkeys(columns, ".1%"),
                    labels=labels,
                    caption="The same in the templates of the tasks.",
                )
            )
        )
    return sections
