"""Which settings matter: PED-ANOVA and fANOVA, each with how much it depends on which trials there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from spelling_transfer.statistics.intervals import percentile_interval
from spelling_transfer.statistics.resampling import Bootstrap

if TYPE_CHECKING:
    import optuna
    import pandas as pd

METHODS = {
    "PED-ANOVA": "how differently the best tenth of the trials is spread over the values of a setting",
    "fANOVA": "how much of the score's variance a setting explains by itself, in a forest fitted to the trials",
}
"""What each method measures. PED-ANOVA: Watanabe et al. (2023), arXiv:2304.10255. fANOVA: Hutter et al., ICML 2014."""

FEWEST_TRIALS = 5
"""Below this there is nothing to split."""
COLUMNS = ["method", "setting", "importance", "low", "high", "seeds"]


def rate_importance(
    settings: pd.DataFrame, scores: ArrayLike, search_space: dict[str, Any], *, seeds: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Returns the importance of each setting for a score, by both methods.

    Each seed draws the trials anew, with replacement, and is also the seed of fANOVA's forest: the spread is what
    another study of the same size might have said.

    Args:
        settings: What each trial was made with, a column a setting. What does not vary is left out.
        scores: What each trial scored.
        search_space: For a setting that is a range, ``low``, ``high`` and ``log``; others are taken as categories.
        seeds: Resamples of the trials.
        seed: The first seed.

    Returns:
        One row a method and setting: ``importance`` on all trials (shares of 1 within a method), ``low`` and ``high``
        (the 95% range over seeds), ``seeds``. No rows for fewer than five trials, or where nothing varied.
    """
    import pandas as pd

    score = np.asarray(scores, dtype=float)
    names = [name for name in settings.columns if settings[name].nunique() > 1]
    if len(settings) < FEWEST_TRIALS or not names or len(np.unique(score)) < 2:
        return pd.DataFrame(columns=COLUMNS)
    distributions = {name: _distribution(settings[name], search_space.get(name)) for name in names}
    draws = [draw for batch in Bootstrap(n_resamples=seeds, seed=seed).indices(len(settings)) for draw in batch]
    rows = []
    for method in METHODS:
        whole = _importances(settings, score, distributions, method, seed)
        spread = [
            _importances(settings.iloc[draw], score[draw], distributions, method, seed + place)
            for place, draw in enumerate(draws)
        ]
        for name in names:
            low, high = percentile_interval(np.array([each[name] for each in spread]))
            rows.append(
                {"method": method, "setting": name, "importance": whole[name], "low": low, "high": high, "seeds": seeds}
            )
    found = pd.DataFrame(rows, columns=COLUMNS)
    order = found.groupby("setting")["importance"].mean()
    return found.sort_values(
        ["method", "setting"],
        key=lambda column: column.map(list(METHODS).index) if column.name == "method" else -column.map(order),
        kind="stable",
        ignore_index=True,
    )


def _importances(
    settings: pd.DataFrame, scores: np.ndarray, distributions: dict[str, Any], method: str, seed: int
) -> dict[str, float]:
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    varying = [name for name in distributions if settings[name].nunique() > 1]
    found = dict.fromkeys(distributions, 0.0)
    if not varying or len(np.unique(scores)) < 2:
        return found
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for row, score in zip(settings[varying].to_dict("records"), scores, strict=True):
        study.add_trial(
            optuna.trial.create_trial(
                params={str(name): _plain(value) for name, value in row.items()},
                distributions={name: distributions[name] for name in varying},
                value=float(score),
            )
        )
    evaluator = PedAnovaImportanceEvaluator() if method == "PED-ANOVA" else FanovaImportanceEvaluator(seed=seed)
    rated = evaluator.evaluate(study, params=varying)
    total = sum(rated.values())
    return found | {name: float(value / total) if total > 0 else 0.0 for name, value in rated.items()}


def _distribution(column: pd.Series[Any], entry: Any) -> optuna.distributions.BaseDistribution:
    import pandas as pd
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    is_number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    is_range = isinstance(entry, dict) and entry.get("low") is not None
    if not is_number or not is_range:
        return CategoricalDistribution(
            sorted({_plain(value) for value in column}, key=lambda value: (str(type(value)), value))
        )
    log = bool(entry.get("log"))
    # What was drawn may reach past a space that was changed since; the distribution must hold every trial.
    low, high = min(entry["low"], column.min()), max(entry["high"], column.max())
    if pd.api.types.is_integer_dtype(column):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
