"""Figures of what transfers: over steps, between trials, by kind of question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from spelling_transfer.pages.style import COLOURS, TASK_COLOURS, style_figure
from spelling_transfer.statistics.scores import SCORED_TASKS
from spelling_transfer.study.executor import Evaluation
from spelling_transfer.tasks.registry import UNTRAINED_TASKS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_FEW = 6
"""Up to so many trials, each is drawn as clearly as the best."""
_MOST_ERROR_BARS = 12
GREY = COLOURS[-1]


def plot_learning_curves(curves: pd.DataFrame, base: Evaluation, best: int | None = None) -> Figure:
    """Draws exact match on validation words against steps, a panel a task and a line a trial, from the base model on.

    Args:
        curves: One row an evaluation.
        base: Scores of the base model.
        best: The trial to draw on top of the others.
    """
    from plotly.subplots import make_subplots

    figure = make_subplots(cols=3, subplot_titles=[*SCORED_TASKS], shared_yaxes=True, horizontal_spacing=0.03)
    numbers = sorted(curves["number"].unique(), key=lambda number: (number == best, number))
    for column, task in enumerate(SCORED_TASKS, start=1):
        for number in numbers:
            curve = curves[curves["number"] == number]
            clear = number == best or len(numbers) <= _FEW
            figure.add_scatter(
                x=[0, *curve["step"]],
                y=[getattr(base, task), *curve[task]],
                mode="lines+markers" if clear else "lines",
                line={"color": TASK_COLOURS[task], "width": 3 if number == best else 1.5},
                marker={"size": 7},
                opacity=1 if number == best else 0.55 if clear else 0.25,
                showlegend=False,
                hovertemplate=f"{task}, trial {number}: %{{y:.1%}} after %{{x}} steps<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_xaxes(title="steps")
    figure.update_yaxes(title="exact match", col=1)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return style_figure(figure, height_pixels=380)


def plot_transfer(changes: pd.DataFrame, best: int | None = None) -> Figure:
    """Draws each trial's gain in spelling against its gain in position and count, in points, with intervals.

    Args:
        changes: What ``measure_changes`` returns.
        best: The trial to mark.
    """
    import plotly.graph_objects as go

    spelling = changes[changes["task"] == "spelling"].set_index("number")
    figure = go.Figure()
    figure.add_hline(y=0, line={"dash": "dot", "width": 1.5, "color": GREY})
    with_bars = len(spelling) <= _MOST_ERROR_BARS
    for task in UNTRAINED_TASKS:
        rows = changes[changes["task"] == task].set_index("number")
        figure.add_scatter(
            name=task,
            x=100 * spelling["gain"].reindex(rows.index),
            y=100 * rows["gain"],
            mode="markers",
            marker={
                "size": [15 if number == best else 9 for number in rows.index],
                "color": TASK_COLOURS[task],
                "symbol": ["star" if number == best else "circle" for number in rows.index],
            },
            error_y={
                "type": "data",
                "array": 100 * (rows["high"] - rows["gain"]),
                "arrayminus": 100 * (rows["gain"] - rows["low"]),
                "thickness": 1,
                "width": 3,
                "visible": with_bars and bool(rows["low"].notna().all()),
            },
            customdata=[
                [number, "" if pd.isna(low) else f" ({100 * low:+.1f} to {100 * high:+.1f})"]
                for number, low, high in zip(rows.index, rows["low"], rows["high"], strict=True)
            ],
            hovertemplate=f"trial %{{customdata[0]}}: spelling %{{x:+.1f}}, {task} %{{y:+.1f}}%{{customdata[1]}}"
            "<extra></extra>",
        )
    figure.update_xaxes(title="gain in spelling (points)")
    figure.update_yaxes(title="gain in position, count (points)")
    return style_figure(figure)


def plot_transfer_paths(curves: pd.DataFrame, base: Evaluation, best: int | None = None) -> Figure:
    """Draws each trial's way from the base model: spelling against the mean of position and count, over its steps.

    Args:
        curves: One row an evaluation.
        base: Scores of the base model.
        best: The trial to draw on top of the others.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    numbers = sorted(curves["number"].unique(), key=lambda number: (number == best, number))
    for number in numbers:
        curve = curves[curves["number"] == number]
        is_best = bool(number == best)
        figure.add_scatter(
            x=[base.spelling, *curve["spelling"]],
            y=[(base.position + base.count) / 2, *(curve["position"] + curve["count"]) / 2],
            mode="lines+markers",
            line={"color": COLOURS[0] if is_best else GREY, "width": 3 if is_best else 1.2},
            marker={"size": [0] + [7 if is_best else 4] * len(curve)},
            opacity=1 if is_best else 0.6,
            name="the recommended trial" if is_best else "other trials",
            legendgroup=str(is_best),
            showlegend=bool(is_best or number == numbers[0]),
            customdata=[0, *curve["step"]],
            hovertemplate=f"trial {number} after %{{customdata}} steps: spelling %{{x:.1%}}, position and count "
            "%{y:.1%}<extra></extra>",
        )
    figure.add_scatter(
        x=[base.spelling],
        y=[(base.position + base.count) / 2],
        mode="markers",
        marker={"size": 13, "symbol": "diamond", "color": COLOURS[1]},
        name="base model",
        hovertemplate="base model: spelling %{x:.1%}, position and count %{y:.1%}<extra></extra>",
    )
    figure.update_xaxes(title="spelling, exact match", tickformat=".0%")
    figure.update_yaxes(title="mean of position and count", tickformat=".1%")
    return style_figure(figure)


def plot_patterns(patterns: pd.DataFrame) -> Figure:
    """Draws the mean gain over trials by difficulty and by tokens of the word, a panel each, with intervals."""
    from plotly.subplots import make_subplots

    panels = [("difficulty", "difficulty of the word"), ("tokens", "tokens of the word")]
    figure = make_subplots(cols=2, subplot_titles=[title for _, title in panels], shared_yaxes=True)
    for column, (pattern, _) in enumerate(panels, start=1):
        figure.add_hline(y=0, line={"dash": "dot", "width": 1.5, "color": GREY}, row=1, col=column)
        for task in SCORED_TASKS:
            rows = patterns[(patterns["pattern"] == pattern) & (patterns["task"] == task)]
            figure.add_scatter(
                name=task,
                legendgroup=task,
                showlegend=column == 1,
                x=rows["value"],
                y=100 * rows["gain"],
                mode="lines+markers",
                line={"color": TASK_COLOURS[task], "width": 2},
                marker={"size": 8},
                error_y=_bars(rows),
                customdata=rows["questions"],
                hovertemplate=f"{task}: %{{y:+.1f}} points on %{{customdata}} questions<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(title="gain over the base model (points)", col=1)
    # The legend stands where the panels' titles are, unless it is lifted.
    return style_figure(figure, height_pixels=400).update_layout(legend={"y": 1.12}, margin={"t": 80})


def _bars(rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "type": "data",
        "array": 100 * (rows["high"] - rows["gain"]),
        "arrayminus": 100 * (rows["gain"] - rows["low"]),
        "thickness": 1.2,
        "width": 3,
    }
