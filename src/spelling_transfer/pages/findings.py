"""What a comparison says in words: generated from the numbers, in either direction, with what it does not show."""

from __future__ import annotations

from typing import Any

import pandas as pd

from spelling_transfer.tasks.registry import CORE_TASKS, TRAINED_TASK

ONE_RUN = "Each arm was trained once, so another seed of training would move these numbers as well."
NO_CONTROL = (
    "No claim of transfer is made here. A change in position or count could also come from learning the form of the "
    "answers. Only a control arm, trained on the same prompts and forms of answer without the knowledge of spelling, "
    "could tell the two apart, and this evaluation has none."
)


def main_rows(comparison: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows that claims are about: whole tasks on real words of held-out families."""
    return comparison[(comparison["measure"] == "exact_match") & (comparison["group"] == "all")]


def core_rows(comparison: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the tasks of the research question, in their order."""
    rows = main_rows(comparison)
    order = {task: place for place, task in enumerate(CORE_TASKS)}
    return rows[rows["task"].isin(order)].sort_values("task", key=lambda tasks: tasks.map(order), kind="stable")


def transfer_row(comparison: pd.DataFrame) -> pd.Series[Any] | None:
    """Returns the row of the transfer score; None where a task of it was not asked."""
    rows = comparison[comparison["measure"] == "transfer_score"]
    return None if rows.empty else rows.iloc[0]


def percent(share: float) -> str:
    """Writes a share: ``0.123`` as ``12.3%``."""
    return f"{share:.1%}"


def points(difference: float) -> str:
    """Writes a difference of shares in percentage points, with its sign: ``0.05`` as ``+5.0``."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def interval_in_points(low: float, high: float) -> str:
    """Writes an interval of a difference: ``+2.0 to +8.1``."""
    return f"{points(low)} to {points(high)}"


def describe_change(row: pd.Series[Any], *, confidence: float) -> str:
    """Returns a sentence on how a task's score changed; "moved" only where the interval excludes zero."""
    task = str(row["task"]).capitalize()
    change = f"from {percent(row['reference_score'])} to {percent(row['arm_score'])} of {row['n']:,} questions"
    interval = f"{interval_in_points(row['low'], row['high'])} points, {confidence:.0%} interval"
    if row["verdict"] == "up":
        return f"{task} moved up, {change}: {points(row['difference'])} ({interval})."
    if row["verdict"] == "down":
        return f"{task} moved down, {change}: {points(row['difference'])} ({interval})."
    return (
        f"{task} cannot be said to have moved: {change}, {points(row['difference'])}, and the interval holds zero "
        f"({interval})."
    )


def describe_transfer_score(row: pd.Series[Any], *, confidence: float) -> str:
    """Returns a sentence on the transfer score of both arms."""
    moved = {"up": "rose", "down": "fell", "unclear": "shows no sure change:"}[str(row["verdict"])]
    return (
        f"The transfer score ({row['value']} focus) {moved} from {row['reference_score']:.3f} to "
        f"{row['arm_score']:.3f}, {row['difference']:+.3f} "
        f"({confidence:.0%} interval {row['low']:+.3f} to {row['high']:+.3f})."
    ).replace("-0", "−0")


def describe_transfer(
    comparison: pd.DataFrame, control: pd.DataFrame | None = None, *, confidence: float = 0.95
) -> str:
    """Returns what may be said about transfer from spelling to the tasks that were not trained.

    Transfer is claimed for a task only where it did better than the control arm *and* better than the base model, each
    with an interval that excludes zero: an arm can beat its control because the control got worse.

    Args:
        comparison: The comparison with the base model.
        control: The comparison with the control arm; without one nothing is claimed.
        confidence: Confidence level of the intervals.
    """
    verdicts = {str(row["task"]): str(row["verdict"]) for _, row in core_rows(comparison).iterrows()}
    untrained = {task: verdict for task, verdict in verdicts.items() if task != TRAINED_TASK}
    moved = {direction: [task for task, each in untrained.items() if each == direction] for direction in ("up", "down")}
    parts = []
    if verdicts.get(TRAINED_TASK) == "up" and untrained and not moved["up"] and not moved["down"]:
        parts.append("Spelling improved and no other task measurably changed with it.")
    if moved["up"]:
        parts.append(f"Beside spelling, {_and(moved['up'])} went up.")
    if moved["down"]:
        parts.append(f"{_and(moved['down']).capitalize()} got worse.")
    if control is None or control.empty:
        return " ".join([*parts, NO_CONTROL])
    return " ".join([*parts, *_adjusted(control, untrained, confidence)])


def claimed_tasks(comparison: pd.DataFrame, control: pd.DataFrame | None) -> list[str]:
    """Returns the tasks that transfer is claimed for."""
    if control is None or control.empty:
        return []
    up = [{str(row["task"]) for _, row in core_rows(frame).iterrows() if row["verdict"] == "up"} for frame in
          (comparison, control)]  # fmt: skip
    return [task for task in CORE_TASKS if task != TRAINED_TASK and task in up[0] & up[1]]


def describe_ratio(control: pd.DataFrame) -> str:
    """Returns the transfer ratios adjusted for the control arm; empty where there are none."""
    rows = control[control["measure"] == "transfer_ratio"]
    parts = [
        f"{row['task']} {row['difference']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})".replace("-", "−")
        for _, row in rows.iterrows()
    ]
    return f"For each point of spelling gained over the control arm: {_and(parts)} points." if parts else ""


def _adjusted(control: pd.DataFrame, untrained: dict[str, str], confidence: float) -> list[str]:
    rows = {str(row["task"]): row for _, row in core_rows(control).iterrows() if row["task"] in untrained}
    said = []
    for task, row in rows.items():
        size = f"{points(row['difference'])} points ({interval_in_points(row['low'], row['high'])})"
        if row["verdict"] == "up" and untrained[task] == "up":
            said.append(f"{task} gained {size} more than the control arm: spelling carried over to it")
        elif row["verdict"] == "up":
            said.append(f"{task} is {size} above the control arm but not surely above the base model: no claim")
        elif row["verdict"] == "down":
            said.append(f"{task} is {size} below the control arm")
        else:
            said.append(f"{task} differs from the control arm by {size}, which holds zero: no claim")
    level = f"Adjusted for the control arm ({confidence:.0%} intervals): {'; '.join(said)}."
    ratio = describe_ratio(control)
    return [level, *([ratio] if ratio else []), ONE_RUN]


def describe_other_tasks(comparison: pd.DataFrame) -> str:
    """Returns a sentence on the tasks beside those of the research question; empty where there are none."""
    rows = main_rows(comparison)
    rows = rows[~rows["task"].isin(CORE_TASKS)]
    if rows.empty:
        return ""
    said = {"up": "moved up", "down": "moved down", "unclear": "cannot be said to have moved"}
    parts = [
        f"{_and(list(part['task']))} {said[str(verdict)]}" for verdict, part in rows.groupby("verdict", sort=False)
    ]
    return f"Of the tasks that were only asked, {'; '.join(parts)}."


def describe_comparison(
    comparison: pd.DataFrame, control: pd.DataFrame | None = None, *, confidence: float
) -> list[str]:
    """Returns the findings as sentences: each task, the transfer score, and what may be said about transfer."""
    sentences = [describe_change(row, confidence=confidence) for _, row in core_rows(comparison).iterrows()]
    score = transfer_row(comparison)
    if score is not None:
        sentences.append(describe_transfer_score(score, confidence=confidence))
    others = describe_other_tasks(comparison)
    return [*sentences, *([others] if others else []), describe_transfer(comparison, control, confidence=confidence)]


def _and(names: list[str]) -> str:
    return str(names[0]) if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
