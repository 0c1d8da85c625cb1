"""Which configuration to take."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.study.config import StudyConfigError, TrialConfig


def recommend(trials: pd.DataFrame, defaults: TrialConfig) -> dict[str, Any]:
    """Returns the best trial's configuration in full, with what it scored and how close the next one came.

    Args:
        trials: One row a trial; the columns with a dot are the settings that were varied.
        defaults: The configuration the trials varied.

    Raises:
        StudyConfigError: No trial was completed.
    """
    finished = trials[trials["state"] != "pruned"].sort_values(
        ["transfer_score", "number"], ascending=[False, True], kind="stable"
    )
    if finished.empty:
        raise StudyConfigError("study: every trial was pruned, so none can be recommended. Raise 'study.n_trials'.")
    best = finished.iloc[0]
    varied = {name: _plain(best[name]) for name in trials.columns if "." in name}
    config = defaults.varied({**varied, "training.seed": int(best["seed"])})
    runner_up = float(finished.iloc[1]["transfer_score"]) if len(finished) > 1 else None
    return {
        "trial": int(best["number"]),
        "transfer_score": float(best["transfer_score"]),
        "runner_up_transfer_score": runner_up,
        "config": config.model_dump(mode="json"),
    }


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
