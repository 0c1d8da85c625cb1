"""Every interval, test, resampling, correlation, importance and score of the study.

Pure functions on arrays, each with its source. They know no file, no frame of the study and no model, so they can be
checked by hand and used elsewhere. `paired` compares two arms on the same examples; `scores` holds the transfer score;
`resampling.Bootstrap` is the one way in which anything here is drawn.
"""

from spelling_transfer.statistics.correlation import correlate
from spelling_transfer.statistics.importance import rate_importance
from spelling_transfer.statistics.intervals import NO_INTERVAL, Interval, percentile_interval, wilson_interval
from spelling_transfer.statistics.paired import (
    PairedDifference,
    gap_closed,
    gap_closed_interval,
    mcnemar_exact,
    newcombe_paired_interval,
    paired_difference,
)
from spelling_transfer.statistics.resampling import Bootstrap, family_bootstrap, family_totals
from spelling_transfer.statistics.scores import (
    SCORED_TASKS,
    FocusWeights,
    compare_transfer_scores,
    resample_scores,
    transfer_score,
)

__all__ = [
    "NO_INTERVAL",
    "SCORED_TASKS",
    "Bootstrap",
    "FocusWeights",
    "Interval",
    "PairedDifference",
    "compare_transfer_scores",
    "correlate",
    "family_bootstrap",
    "family_totals",
    "gap_closed",
    "gap_closed_interval",
    "mcnemar_exact",
    "newcombe_paired_interval",
    "paired_difference",
    "percentile_interval",
    "rate_importance",
    "resample_scores",
    "transfer_score",
    "wilson_interval",
]
