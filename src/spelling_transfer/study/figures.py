"""Figures of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from spelling_transfer.reporting.figures import TASK_COLOURS, style_figure
from spelling_transfer.study.executor import Evaluation
from spelling_transfer.study.scores import SCORED_TASKS

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def plot_learning_curves(curves: pd.DataFrame, base: Evaluation) -> Figure:
    """Draws exact match on validation words against steps, a line a trial and task, from the base model on."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for task in SCORED_TASKS:
        for i, (number, curve) in enumerate(curves.groupby("number")):
            figure.add_scatter(
                name=task,
                legendgroup=task,
                showlegend=i == 0,
                x=[0, *curve["step"]],
                y=[getattr(base, task), *curve[task]],
                mode="lines+markers",
                line={"color": TASK_COLOURS[task], "width": 2},
                opacity=0.8,
                hovertemplate=f"{task}, trial {number}: %{{y:.1%}} after %{{x}} steps<extra></extra>",
            )
    figure.update_xaxes(title="steps")
    figure.update_yaxes(title="exact match", tickformat=".0%", rangemode="tozero")
    return style_figure(figure)


def plot_transfer(trials: pd.DataFrame, base: Evaluation) -> Figure:
    """Draws each trial's gain in spelling against its gain in position and count, in points."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_hline(y=0, line={"dash": "dot", "width": 1})
    for task in ("position", "count"):
        figure.add_scatter(
            name=task,
            x=100 * (trials["spelling"] - base.spelling),
            y=100 * (trials[task] - getattr(base, task)),
            mode="markers",
            marker={"size": 11, "color": TASK_COLOURS[task]},
            customdata=trials["number"],
            hovertemplate=f"trial %{{customdata}}: spelling %{{x:+.1f}}, {task} %{{y:+.1f}}<extra></extra>",
        )
    figure.update_xaxes(title="gain in spelling (points)")
    figure.update_yaxes(title="gain in position, count (points)")
    return style_figure(figure)
