"""Does spelling carry over? Gains of each task against the base model, within and across trials."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.study.executor import Evaluation
from spelling_transfer.study.scores import SCORED_TASKS

FEW_TRIALS = 20
"""Below this, a rank correlation between trials says next to nothing: its 95% interval is wider than ±0.4."""


def analyse_transfer(trials: pd.DataFrame, curves: pd.DataFrame, base: Evaluation) -> dict[str, Any]:
    """Returns each task's gain over the base model, and how the gains of the trials go together.

    Args:
        trials: One row a trial, as the executor leaves them.
        curves: One row an evaluation.
        base: Scores of the base model on the same validation questions.

    Returns:
        ``base`` scores, ``gains`` (one row a trial), ``gap_closed`` (gain over what was missing, by trial and task),
        ``spearman`` of spelling gain with position and count gain over trials, with their p-values, and ``warnings``.
    """
    gains = trials[["number", "state"]].copy()
    closed = trials[["number"]].copy()
    for task in SCORED_TASKS:
        start = getattr(base, task)
        gains[task] = trials[task] - start
        closed[task] = gains[task] / (1 - start) if start < 1 else float("nan")
    spearman = {task: _spearman(gains["spelling"], gains[task]) for task in ("position", "count")}
    warnings = []
    if len(trials) < FEW_TRIALS:
        warnings.append(
            f"{len(trials)} trials are too few for a correlation between them; at least {FEW_TRIALS} are needed."
        )
    if trials["state"].eq("pruned").any():
        warnings.append("Pruned trials are scored where they stopped.")
    return {
        "base": {task: getattr(base, task) for task in SCORED_TASKS},
        "gains": gains.to_dict("records"),
        "gap_closed": closed.to_dict("records"),
        "spearman": spearman,
        "evaluations": len(curves),
        "warnings": warnings,
    }


def _spearman(first: pd.Series, second: pd.Series) -> dict[str, float | int | None]:
    from scipy import stats

    if len(first) < 3 or first.nunique() < 2 or second.nunique() < 2:
        return {"n": len(first), "rho": None, "p": None}
    result = stats.spearmanr(first, second)
    return {"n": len(first), "rho": float(result.statistic), "p": float(result.pvalue)}
