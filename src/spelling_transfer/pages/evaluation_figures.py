"""Figures of the evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from spelling_transfer.pages.findings import interval_in_points, main_rows, points
from spelling_transfer.pages.style import ARM_COLOURS, COLOURS, TASK_COLOURS, style_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_MAX_COLUMNS = 4


def plot_scores(scores: pd.DataFrame) -> Figure:
    """Draws exact match by task and arm with Wilson intervals, and what guessing the commonest answer would give."""
    import plotly.graph_objects as go

    main = scores[scores["group"] == "all"]
    figure = go.Figure()
    for arm, rows in main.groupby("arm", sort=False):
        figure.add_bar(
            name=str(arm),
            x=rows["task"],
            y=rows["exact_match"],
            marker_color=ARM_COLOURS.get(str(arm), COLOURS[3]),
            error_y={
                "type": "data",
                "array": rows["high"] - rows["exact_match"],
                "arrayminus": rows["exact_match"] - rows["low"],
                "thickness": 1.5,
                "width": 4,
            },
            customdata=rows[["n", "low", "high"]],
            hovertemplate="%{y:.1%} of %{customdata[0]} (%{customdata[1]:.1%} to %{customdata[2]:.1%})",
        )
    majority = main.drop_duplicates("task")
    figure.add_scatter(
        name="always the commonest answer",
        x=majority["task"],
        y=majority["majority"],
        mode="markers",
        marker={"symbol": "line-ew", "size": 70, "line": {"width": 2, "color": COLOURS[1]}},
        hovertemplate="%{y:.1%}",
    )
    top = max(0.05, float(main["high"].max()))
    figure.update_yaxes(title="exact match", tickformat=".0%", range=[0, min(1.02, 1.08 * top)])
    figure.update_xaxes(showgrid=False)
    return style_figure(figure)


def plot_differences(comparison: pd.DataFrame) -> Figure:
    """Draws the paired difference of each task with its interval against the line of no change."""
    import plotly.graph_objects as go

    rows = main_rows(comparison).iloc[::-1]
    figure = go.Figure()
    figure.add_vline(x=0, line={"dash": "dot", "width": 1.5, "color": COLOURS[-1]})
    figure.add_scatter(
        x=100 * rows["difference"],
        y=rows["task"],
        mode="markers+text",
        marker={"size": 11, "color": [TASK_COLOURS.get(task, COLOURS[3]) for task in rows["task"]]},
        text=[points(difference) for difference in rows["difference"]],
        textposition="top center",
        error_x={
            "type": "data",
            "array": 100 * (rows["high"] - rows["difference"]),
            "arrayminus": 100 * (rows["difference"] - rows["low"]),
            "thickness": 2,
            "width": 6,
            "color": COLOURS[-1],
        },
        customdata=[interval_in_points(low, high) for low, high in zip(rows["low"], rows["high"], strict=True)],
        hovertemplate="%{y}: %{text} points (%{customdata})<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(title="change in exact match, percentage points")
    figure.update_yaxes(showgrid=False, range=[-0.6, len(rows) - 0.4])
    return style_figure(figure, height_pixels=130 + 65 * len(rows))


def plot_groups(scores: pd.DataFrame, group: str, title: str) -> Figure:
    """Draws exact match by a property of the question (such as its word's tokens): a panel a task, a line an arm."""
    from plotly.subplots import make_subplots

    rows = scores[scores["group"] == group]
    tasks = list(rows["task"].unique())
    n_columns = min(len(tasks), _MAX_COLUMNS)
    n_rows = -(-len(tasks) // n_columns)
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=tasks,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.25 / n_rows,
    )
    for panel, task in enumerate(tasks):
        row, column = panel // n_columns + 1, panel % n_columns + 1
        for arm, part in rows[rows["task"] == task].groupby("arm", sort=False):
            figure.add_scatter(
                name=str(arm),
                legendgroup=str(arm),
                showlegend=panel == 0,
                x=part["value"],
                y=part["exact_match"],
                mode="lines+markers",
                line={"color": ARM_COLOURS.get(str(arm), COLOURS[3]), "width": 2},
                marker={"size": 8},
                error_y={
                    "type": "data",
                    "array": part["high"] - part["exact_match"],
                    "arrayminus": part["exact_match"] - part["low"],
                    "thickness": 1.2,
                    "width": 3,
                },
                customdata=part["n"],
                hovertemplate="%{y:.1%} of %{customdata}",
                row=row,
                col=column,
            )
        lowest = panel + n_columns >= len(tasks)  # elsewhere a title would run into the panel below
        figure.update_xaxes(title=title if lowest else None, type="category", showgrid=False, row=row, col=column)
    figure.update_yaxes(title="exact match", tickformat=".0%", rangemode="tozero", col=1)
    figure = style_figure(figure, height_pixels=80 + 300 * n_rows)
    return figure.update_layout(legend={"y": 1 + 0.12 / n_rows})
