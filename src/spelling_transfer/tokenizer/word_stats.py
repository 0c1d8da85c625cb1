"""What the table of words in tokens says, in a few numbers for each form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator

from spelling_transfer.tokenizer.words import FORM_DESCRIPTIONS, WORD_FORMS, band_of


class WordAnalysis(BaseModel):
    """How words in tokens are summed up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frequency_bands: dict[str, float] = Field(
        {"very frequent": 5.0, "frequent": 4.0, "less frequent": 3.0, "rare": 0.0}, min_length=1
    )
    """Lowest Zipf frequency of each band of words by name, the highest first; 5 is once in ten thousand words."""
    top_words: int = Field(30, ge=1, le=1_000)
    """How many of the most frequent words of more than one token are listed for each form."""
    contexts: dict[str, str] = Field(
        {
            "after a space": "Spell {word}.",
            "at the start": "{word} has how many letters?",
            "after a newline": "Spell this word:\n{word}",
            "in double quotes": 'Spell "{word}".',
            "in single quotes": "Spell '{word}'.",
            "in brackets": "Spell this word ({word}).",
            "in square brackets": "Spell [{word}].",
            "after a hyphen": "Spell non-{word}.",
            "after an underscore": "Spell the_{word}.",
            "after a colon without a space": "Word:{word}",
        }
    )
    """Texts around a word, by name; what stands in front of the word decides how it is cut."""
    context_words: int = Field(1_000, ge=1, le=300_000)
    """How many words, spread over the list, are put into each text."""

    @field_validator("frequency_bands")
    @classmethod
    def _bands_descend(cls, bands: dict[str, float]) -> dict[str, float]:
        floors = list(bands.values())
        if floors != sorted(set(floors), reverse=True):
            raise ValueError(f"word_analysis.frequency_bands: {floors} must go down, without repeats")
        return bands

    @field_validator("contexts")
    @classmethod
    def _contexts_hold_the_word_once(cls, contexts: dict[str, str]) -> dict[str, str]:
        for name, text in contexts.items():
            if text.count("{word}") != 1:
                raise ValueError(f"word_analysis.contexts: {name!r} must hold {{word}} once, is {text!r}")
        return contexts


def summarise_words(word_tokens: pd.DataFrame, settings: WordAnalysis) -> dict[str, Any]:
    """Sums up the table of :func:`~spelling_transfer.tokenizer.words.analyse_words`.

    Plurals count only where they are on the list themselves: the regular ending makes no words out of verbs.

    Returns:
        ``forms``: for each form its description and numbers; ``by_frequency`` and ``by_length``: tables as lists of
        rows; for each form the most frequent words of more than one token (``multi_token_words``) and those that fewer
        tokens could write than the tokenizer takes (``ambiguous_words``).
    """
    counted = word_tokens[word_tokens["is_listed"]]
    counted = counted.assign(band=band_of(counted["zipf_frequency"], settings.frequency_bands))
    return {
        "words": int(word_tokens["word"].nunique()),
        "forms": [_form_summary(counted[counted["form"] == form], form) for form in WORD_FORMS],
        "by_frequency": _by(counted, "band"),
        "by_length": _by(counted, "length"),
        "multi_token_words": {
            form: _top_multi_token(counted[counted["form"] == form], settings.top_words) for form in WORD_FORMS
        },
        "ambiguous_words": {
            form: _top_ambiguous(counted[counted["form"] == form], settings.top_words) for form in WORD_FORMS
        },
    }


def _form_summary(rows: pd.DataFrame, form: Any) -> dict[str, Any]:
    several = rows[rows["n_tokens"] > 1]
    distribution = rows["n_tokens"].value_counts().sort_index()
    return {
        "form": form,
        "description": FORM_DESCRIPTIONS[form],
        "words": len(rows),
        "mean_tokens": _mean(rows["n_tokens"]),
        "single_token": int((rows["n_tokens"] == 1).sum()),
        "single_token_share": _mean(rows["n_tokens"] == 1),
        "tokens": {int(count): int(words) for count, words in distribution.items()},  # type: ignore[call-overload]
        # Of words of several tokens alone: a single token has no border that letters could cross.
        "splits_double_letter_share": _mean(several["splits_double_letter"]),
        "letters_in_several_tokens_share": _mean(several["letters_in_several_tokens"] != ""),
        "not_shortest_share": _mean(several["n_tokens"] > several["fewest_tokens"]),
        "several_shortest_share": _mean(several["shortest_ways"] > 1),
        "median_ways": float(several["ways"].median()) if len(several) else 0.0,
    }


def _by(rows: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    groups = rows.groupby([column, "form"], observed=True)["n_tokens"]
    table = groups.agg(words="size", mean_tokens="mean", single_token_share=lambda counts: np.mean(counts == 1))
    return [
        {
            column: str(key[0]) if column == "band" else int(key[0]),
            "form": key[1],
            "words": int(row["words"]),
            "mean_tokens": round(float(row["mean_tokens"]), 4),
            "single_token_share": round(float(row["single_token_share"]), 4),
        }
        for key, row in table.iterrows()
    ]


def _top_multi_token(rows: pd.DataFrame, count: int) -> list[dict[str, Any]]:
    several = rows[rows["n_tokens"] > 1].sort_values("zipf_frequency", ascending=False, kind="stable")
    columns = ["word", "zipf_frequency", "pieces", "n_tokens", "letters_in_several_tokens"]
    return several.head(count)[columns].to_dict("records")  # type: ignore[return-value]


def _top_ambiguous(rows: pd.DataFrame, count: int) -> list[dict[str, Any]]:
    # Where fewer tokens would do: the order of the merges, not the length, decides how the tokenizer cuts.
    longer = rows[rows["n_tokens"] > rows["fewest_tokens"]].sort_values(
        "zipf_frequency", ascending=False, kind="stable"
    )
    columns = ["word", "zipf_frequency", "pieces", "n_tokens", "fewest_tokens", "shortest_ways", "ways"]
    return longer.head(count)[columns].to_dict("records")  # type: ignore[return-value]


def _mean(values: pd.Series[Any]) -> float:
    return round(float(values.mean()), 4) if len(values) else 0.0
