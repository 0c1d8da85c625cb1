"""What the token analysis found, in one place for page and document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Results:
    """The parts of the analysis as their nodes left them.

    Attributes:
        vocabulary: ``vocabulary_stats``.
        english: ``english_stats``.
        subset: ``english_subset``.
        words: ``word_stats``.
        template: ``template_cost``.
        coverage: ``subset_coverage``.
        probe: ``letter_probe``; empty where the probe is switched off.
    """

    vocabulary: dict[str, Any]
    english: list[dict[str, Any]]
    subset: dict[str, Any]
    words: dict[str, Any]
    template: dict[str, Any]
    coverage: dict[str, Any]
    probe: dict[str, Any]

    def form(self, name: str) -> dict[str, Any]:
        """Returns the numbers of one form of the words."""
        return dict(next(form for form in self.words["forms"] if form["form"] == name))

    @property
    def rule(self) -> dict[str, Any]:
        """What is said of the rule in use."""
        return dict(next(row for row in self.english if row["in_use"]))

    @property
    def savings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the subset in use saves for the model in use and for the published one."""
        model, reference = (row for row in self.coverage["savings"] if row["rule"] == self.subset["rule"])
        return model, reference
