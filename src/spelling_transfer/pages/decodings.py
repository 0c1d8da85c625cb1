"""What a page says of other ways of choosing tokens."""

from __future__ import annotations

import pandas as pd

from spelling_transfer.pages.names import arm_name
from spelling_transfer.pages.numbers import POINTS, level
from spelling_transfer.pages.page import Section, continued
from spelling_transfer.pages.tables import Table

_NAMES = {
    "greedy": "greedy",
    "policy_sampling": "sampled, as the policy sets",
    "advised_sampling": "sampled, temperature 0.7 and top-p 0.8",
    "english_subset": "greedy, English subset",
}
_SHOWN = [
    *("arm", "decoding", "task", "n", "draws", "exact_match", "low", "high"),
    *("difference", "difference_low", "difference_high", "changed", "gained", "lost"),
    *("answers_per_second", "candidates", "head_mb", "peak_mb"),
]


def decoding_sections(decodings: pd.DataFrame, changed: pd.DataFrame, *, confidence: float) -> list[Section]:
    """Returns the sections; none where answers were decoded in one way.

    Args:
        decodings: The table of ``evaluation.decodings.compare_decodings``.
        changed: That of ``changed_answers``.
        confidence: Level of the intervals.
    """
    if decodings.empty:
        return []
    named = decodings.assign(decoding=decodings["decoding"].map(_NAMES), arm=decodings["arm"].map(arm_name))
    named = named[_SHOWN].dropna(axis="columns", how="all")
    shares = ("exact_match", "low", "high", "changed", "gained", "lost")
    signed = ("difference", "difference_low", "difference_high")
    formats = {
        **dict.fromkeys(shares, ".1%"),
        **dict.fromkeys(signed, POINTS),
        **{"answers_per_second": ",.0f", "candidates": ",.0f", "head_mb": ",.1f", "peak_mb": ",.0f"},
    }
    caption = (
        f"Draws are averaged by question; {level(confidence)} intervals are over word families. Gained: answers that "
        "are right where the greedy one is wrong; lost: the reverse. Answers per second share the time of their batch, "
        "which for greedy decoding holds other tasks too. Head: the weights that choose among the candidates."
    )
    sections = [
        Section(
            "Other decodings",
            text="Every claim on this page uses greedy decoding. Here the same questions are answered with other "
            "decodings; the policy's values are in conf/base/policy.yml.",
            table=Table(named, caption=caption, formats=formats),
        )
    ]
    subset = changed[changed["decoding"] == "english_subset"].drop(columns="decoding")
    if len(subset):
        caption = "Every answer that the English subset changes, next to the one from the full vocabulary."
        sections.append(continued(subset, caption, labels={"output": "output_subset"}))
    return sections
