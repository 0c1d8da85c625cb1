"""What a page says of other ways of choosing tokens."""

from __future__ import annotations

import pandas as pd

from spelling_transfer.pages.numbers import POINTS
from spelling_transfer.pages.page import Section, continued
from spelling_transfer.pages.tables import Table

_NAMES = {
    "greedy": "most likely token",
    "policy_sampling": "drawn, by the policy",
    "advised_sampling": "drawn, temperature 0.7 and top-p 0.8",
    "english_subset": "most likely, English subset",
}
_SHOWN = [
    *("arm", "decoding", "task", "n", "draws", "exact_match", "low", "high"),
    *("difference", "difference_low", "difference_high", "changed", "gained", "lost"),
    *("answers_per_second", "candidates", "head_mb", "peak_mb"),
]


def decoding_sections(decodings: pd.DataFrame, changed: pd.DataFrame) -> list[Section]:
    """Returns the sections; none where answers were decoded in one way.

    Args:
        decodings: The table of ``evaluation.decodings.compare_decodings``.
        changed: That of ``changed_answers``.
    """
    if decodings.empty:
        return []
    named = decodings.assign(decoding=decodings["decoding"].map(_NAMES))[_SHOWN].dropna(axis="columns", how="all")
    shares = ("exact_match", "low", "high", "changed", "gained", "lost")
    signed = ("difference", "difference_low", "difference_high")
    formats = {
        **dict.fromkeys(shares, ".1%"),
        **dict.fromkeys(signed, POINTS),
        **{"answers_per_second": ",.0f", "candidates": ",.0f", "head_mb": ",.1f", "peak_mb": ",.0f"},
    }
    caption = (
        "Draws are averaged by question, intervals are over word families. Gained and lost: answers that are right "
        "where the most likely one is wrong, and the other way. Answers per second share the time of their batch, "
        "which for the most likely tokens holds other tasks too. Head: the weights that choose among the candidates."
    )
    sections = [
        Section(
            "Other ways of choosing tokens",
            text="Every claim on this page rests on the most likely token each time. Here are the same questions "
            "answered in other ways; the policy's values are in conf/base/policy.yml.",
            table=Table(named, caption=caption, formats=formats),
        )
    ]
    subset = changed[changed["decoding"] == "english_subset"].drop(columns="decoding")
    if len(subset):
        caption = "Every answer that the English subset changes, beside the one from the whole vocabulary."
        sections.append(continued(subset, caption, labels={"output": "output_subset"}))
    return sections
