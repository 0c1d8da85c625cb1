"""Every interval, test, resampling, correlation, importance and score of the study.

Pure functions on arrays, each with its source, independent of files, data frames and models, so that they can be
checked by hand and used elsewhere. `paired` compares two arms on the same examples; `scores` has the transfer score;
all resampling uses `resampling.Bootstrap`.
"""

from spelling_transfer.statistics.contrast import Contrast, contrast, family_values
from spelling_transfer.statistics.correlation import FEWEST_GROUPS, correlate
from spelling_transfer.statistics.exact import mcnemar_exact, sign_flip_exact
from spelling_transfer.statistics.importance import rate_importance
from spelling_transfer.statistics.intervals import (
    NO_INTERVAL,
    Interval,
    clustered_wilson_interval,
    percentile_interval,
    wilson_interval,
)
from spelling_transfer.statistics.multiple import benjamini_hochberg, holm
from spelling_transfer.statistics.paired import (
    PairedDifference,
    bonett_price_interval,
    gap_closed,
    gap_closed_interval,
    paired_difference,
)
from spelling_transfer.statistics.probes import read_linearly
from spelling_transfer.statistics.ratio import Ratio, contrast_ratio, fieller_interval
from spelling_transfer.statistics.resampling import Bootstrap, family_bootstrap, family_totals
from spelling_transfer.statistics.scores import (
    SCORED_TASKS,
    FocusWeights,
    compare_transfer_scores,
    resample_scores,
    transfer_score,
)

__all__ = [
    "FEWEST_GROUPS",
    "NO_INTERVAL",
    "SCORED_TASKS",
    "Bootstrap",
    "Contrast",
    "FocusWeights",
    "Interval",
    "PairedDifference",
    "Ratio",
    "benjamini_hochberg",
    "bonett_price_interval",
    "clustered_wilson_interval",
    "compare_transfer_scores",
    "contrast",
    "contrast_ratio",
    "correlate",
    "family_bootstrap",
    "family_totals",
    "family_values",
    "fieller_interval",
    "gap_closed",
    "gap_closed_interval",
    "holm",
    "mcnemar_exact",
    "paired_difference",
    "percentile_interval",
    "rate_importance",
    "read_linearly",
    "resample_scores",
    "sign_flip_exact",
    "transfer_score",
    "wilson_interval",
]
