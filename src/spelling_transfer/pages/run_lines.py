"""The last words of a run in the terminal: ten lines at most."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from spelling_transfer.pages.findings import (
    claimed_tasks,
    core_rows,
    interval_in_points,
    main_rows,
    percent,
    points,
    transfer_row,
)
from spelling_transfer.pages.run_results import Results
from spelling_transfer.tasks.registry import TRAINED_TASK

MAX_LINES = 10
_VERDICTS = {"up": "moved up", "down": "moved down", "unclear": "not moved for sure"}


class Line(NamedTuple):
    """A label and what is said under it."""

    label: str
    text: str
    tone: str = ""


def summary_lines(results: Results) -> list[Line]:
    """Returns what a run made, in words; nothing for what it did not make.

    Args:
        results: The results, restricted to what is to be spoken of.
    """
    lines = []
    if results.prepared is not None:
        lines.append(Line("prepared", describe_data(results.prepared)))
    if results.best_config is not None:
        lines.append(Line("trained", describe_training(results)))
    if results.comparison is not None:
        lines += _compared(results.comparison, results.control_comparison)
    if results.conformance is not None:
        lines.append(_endpoint(results.conformance))
    return lines


def describe_data(prepared: dict[str, int]) -> str:
    """Returns how much was prepared."""
    return f"{prepared['words']:,} words, {prepared['examples']:,} examples"


def describe_training(results: Results) -> str:
    """Returns what was trained: model, method, and the settings that were searched over."""
    best = results.best_config or {}
    trials = results.trials
    if trials is None:
        return f"{results.model_name} with LoRA"
    searched = [name for name in trials.columns if "." in name]
    config = best.get("config", {})
    chosen = ", ".join(f"{name.partition('.')[2]} {_setting(config, name)}" for name in searched)
    seeds = len(best.get("confirmation", {}).get("seeds", []))
    again = f", {seeds} new seed{'' if seeds == 1 else 's'}" if seeds else ""
    return f"{results.model_name} with LoRA, best of {len(trials)} trials{again}" + (f": {chosen}" if chosen else "")


def describe_endpoint(conformance: dict[str, Any]) -> str:
    """Returns whether the endpoint obeys."""
    checks = conformance["checks"]
    failed = [str(check["id"]) for check in checks if not check["passed"]]
    if not failed:
        return f"obeys: it passed all {len(checks)} checks of non-thinking mode"
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"DISOBEYS: it failed {len(failed)} of {len(checks)} checks ({', '.join(failed[:3])}{more})"


def _compared(comparison: pd.DataFrame, control: pd.DataFrame | None) -> list[Line]:
    rows, shown = main_rows(comparison), core_rows(comparison)
    lines = [
        Line(
            str(row["task"]),
            f"{percent(row['reference_score'])} → {percent(row['arm_score'])}, {points(row['difference'])} points "
            f"({interval_in_points(row['low'], row['high'])}): {_VERDICTS[str(row['verdict'])]}",
            str(row["verdict"]),
        )
        for _, row in shown.iterrows()
    ]
    score = transfer_row(comparison)
    if score is not None:
        change = f"{score['difference']:+.3f} ({score['low']:+.3f} to {score['high']:+.3f})".replace("-", "−")
        lines.append(
            Line(
                "score",
                f"{score['reference_score']:.3f} → {score['arm_score']:.3f}, {change}: transfer score, "
                f"{score['value']} focus",
                str(score["verdict"]),
            )
        )
    others = f"; {len(rows) - len(shown)} more tasks are on the page" if len(rows) > len(shown) else ""
    lines.append(Line("transfer", _adjusted(comparison, control) + others))
    return lines


def _adjusted(comparison: pd.DataFrame, control: pd.DataFrame | None) -> str:
    if control is None or control.empty:
        return "no claim is made: there is no control arm to compare with"
    claimed = claimed_tasks(comparison, control)
    parts = [
        f"{row['task']} {points(row['difference'])} ({interval_in_points(row['low'], row['high'])})"
        for _, row in core_rows(control).iterrows()
        if row["task"] != TRAINED_TASK
    ]
    verdict = f"spelling carried over to {' and '.join(claimed)}" if claimed else "no claim"
    return f"{verdict}; against the control arm {', '.join(parts)} points"


def _endpoint(conformance: dict[str, Any]) -> Line:
    failed = any(not check["passed"] for check in conformance["checks"])
    return Line("endpoint", describe_endpoint(conformance), "down" if failed else "up")


def _setting(config: dict[str, Any], dotted: str) -> str:
    value: Any = config
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return f"{value:.2g}" if isinstance(value, float) else str(value)
