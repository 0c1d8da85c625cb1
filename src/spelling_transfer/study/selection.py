"""What a search selects by: a number that never prefers a trial because it did not learn to spell.

The transfer score is reported and not searched for. Where spelling is above the mean of position and count, it is a
multiple of their sum alone: of two trials that are alike in these it cannot tell which of them spells, and what
training on spelling costs position and count speaks against every trial that learns.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from spelling_transfer.statistics.intervals import Floats
from spelling_transfer.statistics.scores import FocusWeights, Resampled, StudyResamples

SelectBy = Literal["spelling", "weighted"]
Scores = TypeVar("Scores", float, NDArray[np.float64])


def selection_score(
    spelling: Scores, position: Scores, count: Scores, select_by: SelectBy, weights: FocusWeights
) -> Scores:
    """Returns what trials are ranked by; more is better, and more spelling is always more.

    - ``spelling``: exact match of spelling. Position and count decide nothing, so what is measured of them is no choice
      among chances.
    - ``weighted``: ``spelling + w_position·position + w_count·count``, with the weights of the focus.

    The base model's own scores are the same for all trials, so both rank as the gains over it do.

    Args:
        spelling: Exact match of spelling on validation words, 0 to 1; a number or an array.
        position: The same for position.
        count: The same for count.
        select_by: Which of the two.
        weights: Of position and count.
    """
    if select_by == "spelling":
        return spelling
    total: Scores = spelling + weights.position * position + weights.count * count
    return total


def selection_resamples(resamples: StudyResamples, select_by: SelectBy, weights: FocusWeights) -> Resampled:
    """Returns the selection score of each trial, shape ``(trials,)``, on the questions and on their resamples."""

    def ranked(scores: Floats) -> Floats:
        spelling, position, count = np.moveaxis(scores, -1, 0)
        return np.asarray(selection_score(spelling, position, count, select_by, weights))

    return Resampled(ranked(resamples.trials.value), ranked(resamples.trials.resamples))
